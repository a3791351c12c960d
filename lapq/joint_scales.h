#ifndef LOWBIT_LAPQ_JOINT_SCALES_H_
#define LOWBIT_LAPQ_JOINT_SCALES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"

namespace lowbit {

struct JointScalesOptions {
  std::vector<double> powers = {2, 2.5, 3, 3.5, 4};  // of the Lp errors; none: only the joint search
  int iterations = 1;                                // rounds of the joint search; 0: only the Lp errors
  bool weights = true;                               // whether the scales of weights are searched
  bool activations = true;
  int max_bits = 7;  // tensors of more keep their scales: they hardly matter
  // Called after each time that the images went through the network, with the smallest loss so far. May end the search
  // with an error.
  std::function<absl::Status(double loss)> on_evaluation;
};

// One tensor whose scales were searched.
struct SearchedScale {
  std::string layer;  // whose weight it is, or that puts the activation out
  bool is_weight = false;
  double factor = 1;  // what its scale (those of all channels) was multiplied by
};

// KL divergences are means over the images, in nats.
struct JointScalesResult {
  QuantizedModel model;
  double start_kl = 0;
  double kl = 0;
  // The Lp errors that were tried, and what they gave; the last one may be the vertex of a parabola through the others.
  std::vector<double> powers;
  std::vector<double> power_kl;
  int evaluations = 0;
  std::vector<SearchedScale> scales;
};

// Loss-aware quantization (LAPQ: Nahshan et al. 2019, arXiv 1911.07190): the scales of all tensors are chosen together,
// by what they do to the network's answers instead of to each tensor. It starts from what a quantizer chose, and keeps
// zero points and the kind of each grid.
//
// 1. For each p each tensor gets the factor on its scale with the smallest Lp error, the mean of |x - x'|^p. Through
//    the losses of these models runs a parabola in p; its minimum is tried too. The best of all, or the start, goes on.
// 2. Powell's method moves the logarithms of all factors.
//
// The loss is the mean KL divergence of the softmax of the quantized network's answers from that of the float
// network's, so no labels are needed (the paper takes the cross entropy with labels). Weights are rounded to the
// nearest code of each new grid: InvalidArgument, naming the layer, if they are not to begin with, as after a method
// that chooses the rounding itself.
//
// images: float32 [N, C, H, W], normalised. `quantized` was made from `float_model`. The result's KL is never above the
// start's.
absl::StatusOr<JointScalesResult> SearchJointScales(const Model& float_model, const QuantizedModel& quantized,
                                                    const at::Tensor& images, const JointScalesOptions& options = {});

}  // namespace lowbit

#endif  // LOWBIT_LAPQ_JOINT_SCALES_H_
