#include "pipeline/logit_difference.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/max.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "data/loader.h"
#include "evaluation/batch_tensor.h"
#include "model/executor.h"
#include "model/torch_boundary.h"

namespace lowbit {
namespace {

constexpr int kBatchSize = 250;

}  // namespace

absl::StatusOr<double> MaxLogitDifference(const Model& a, const Model& b, const Dataset& dataset,
                                          const Normalization& normalization, std::vector<int64_t> images,
                                          const std::string& step) {
  LOWBIT_ASSIGN_OR_RETURN(const Executor run_a, Executor::Create(a.graph, a.parameters));
  LOWBIT_ASSIGN_OR_RETURN(const Executor run_b, Executor::Create(b.graph, b.parameters));
  LoaderOptions options;
  options.order = std::move(images);
  options.batch_size = kBatchSize;
  options.normalization = normalization;
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(&dataset, std::move(options)));
  Progress progress(absl::StrCat(step, ": compare logits"), loader->image_count());
  double difference = 0;
  while (true) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
    if (!batch.has_value()) return difference;
    const at::Tensor input = ImagesTensor(*batch);
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor logits_a, run_a.Forward(input));
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor logits_b, run_b.Forward(input));
    LOWBIT_ASSIGN_OR_RETURN(const double here,
                            CatchTorch([&] { return at::max(at::abs(logits_a.sub(logits_b))).item<double>(); }));
    if (!std::isfinite(here)) return absl::InvalidArgumentError("the network puts out NaN or infinite logits");
    difference = std::max(difference, here);
    progress.Advance(batch->size());
  }
}

}  // namespace lowbit
