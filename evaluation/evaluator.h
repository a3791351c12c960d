#ifndef LOWBIT_EVALUATION_EVALUATOR_H_
#define LOWBIT_EVALUATION_EVALUATOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/loader.h"
#include "evaluation/metrics.h"
#include "evaluation/mistakes.h"

namespace lowbit {

// Images [N, C, H, W], float, normalised, to logits [N, classes], float.
using ForwardFunction = std::function<absl::StatusOr<at::Tensor>(const at::Tensor& images)>;

struct EvaluationOptions {
  // Stands before the progress bar.
  std::string label = "evaluate";
  bool show_progress = true;
  // An image is a top-k hit if its class is among the k highest logits.
  int k = 3;
  // How many mistakes are kept, the most confident ones.
  int mistakes = 0;
};

struct EvaluationResult {
  ClassificationReport metrics;
  ConfusionMatrix confusion = ConfusionMatrix(0);
  std::vector<Mistake> mistakes;  // as many as were asked for, if there are; the most confident one first
  // Time spent in the forward function only, and from the first call to the end, waiting for data included.
  double forward_seconds = 0.0;
  double wall_seconds = 0.0;

  double forward_images_per_second() const;
  double wall_images_per_second() const;
};

// Runs `forward` over what is left in the loader. Errors: of the loader or of `forward`; Cancelled on an interruption
// between two batches (base/interrupt.h); InvalidArgument if the logits have the wrong shape or type, or one is NaN or
// infinite, with the image's number.
absl::StatusOr<EvaluationResult> Evaluate(const ForwardFunction& forward, Loader& loader,
                                          const EvaluationOptions& options = {});

}  // namespace lowbit

#endif  // LOWBIT_EVALUATION_EVALUATOR_H_
