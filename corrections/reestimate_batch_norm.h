#ifndef LOWBIT_CORRECTIONS_REESTIMATE_BATCH_NORM_H_
#define LOWBIT_CORRECTIONS_REESTIMATE_BATCH_NORM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/quantized_model.h"

namespace lowbit {

// What became of one batch norm.
struct ReestimatedNorm {
  std::string layer;
  double max_shift = 0;  // The largest |new - old mean| of a channel, in old standard deviations, sqrt(var + eps).
  double min_ratio = 1, max_ratio = 1;  // New over old standard deviation, sqrt(var + eps).
};

struct ReestimatedModel {
  QuantizedModel model;
  std::vector<ReestimatedNorm> norms;  // In the graph's order; empty: there is no batch norm.
};

// Batch norm re-estimation: running_mean and running_var of each batch norm become mean and variance (divided by the
// number of values) of what it reads in the quantized network, over all images. In the graph's order: each batch norm
// sees what those before it, corrected, let through. So it is one pass, not one of moving averages as in training.
// (CalibTIP, Hubara et al. 2020, arXiv 2006.10518, and OBC, Frantar et al. 2022, arXiv 2208.11580, call it batch norm
// tuning.)
//
// images: float32 [N, C, H, W], normalised, seen as one batch: memory grows with their number times the largest
// outputs that are alive at the same time. InvalidArgument for inputs that are NaN or infinite and for a channel whose
// new variance + eps would be 0, naming the layer; Cancelled after an interrupt.
absl::StatusOr<ReestimatedModel> ReestimateBatchNorms(const QuantizedModel& quantized, const at::Tensor& images);

}  // namespace lowbit

#endif  // LOWBIT_CORRECTIONS_REESTIMATE_BATCH_NORM_H_
