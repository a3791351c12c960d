#ifndef LOWBIT_MODEL_PASSES_FOLD_BATCH_NORM_H_
#define LOWBIT_MODEL_PASSES_FOLD_BATCH_NORM_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/channel_moments.h"
#include "model/parameters.h"

namespace lowbit {

struct FoldedPair {
  std::string layer;       // The convolution or linear layer, which keeps its name.
  std::string batch_norm;  // The batch norm, which is gone.
  bool bias_made = false;  // Whether the layer had no bias before.
};

struct FoldResult {
  Model model;
  std::vector<FoldedPair> folded;  // In the graph's order.
  // By layer: mean beta and standard deviation |gamma| sqrt(running_var / (running_var + eps)) of what it puts out now,
  // over the images that the running statistics are of.
  NetworkMoments moments;
  std::vector<std::string> not_folded;  // "layer1.0.bn2: why", in the graph's order; these batch norms stay.
};

// Folds each batch norm into the convolution (or linear layer) before it, in double precision:
//   s = gamma / sqrt(running_var + eps),  weight' = weight * s per output channel,  bias' = (bias - running_mean) * s +
//   beta
// (Jacob et al. 2018, arXiv 1712.05877, 3.2). A batch norm is left alone, and named, if what it reads is no
// convolution or linear layer, or has other readers. The given model's tensors are not changed; unchanged ones are
// shared. InvalidArgument as CheckParameters, for a negative running variance and for running_var + eps = 0, naming
// layer and channel.
absl::StatusOr<FoldResult> FoldBatchNorm(const Model& model);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PASSES_FOLD_BATCH_NORM_H_
