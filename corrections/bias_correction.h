#ifndef LOWBIT_CORRECTIONS_BIAS_CORRECTION_H_
#define LOWBIT_CORRECTIONS_BIAS_CORRECTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/channel_moments.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"

namespace lowbit {

// What became of one layer.
struct LayerCorrection {
  std::string layer;
  double max_shift = 0;                 // The largest |change| of the mean of an output channel.
  double min_ratio = 1, max_ratio = 1;  // The standard deviations' float / quantized, as applied to the weights.
  int64_t dead = 0;     // Channels with a standard deviation of 0 on either side: these keep their scale.
  int64_t limited = 0;  // Channels whose ratio lay outside of [1 / kMaxStdRatio, kMaxStdRatio].
};

// A channel whose spread quantization changed by more than this is broken otherwise than by a wrong scale.
constexpr double kMaxStdRatio = 10;

struct BiasCorrection {
  QuantizedModel model;
  std::vector<LayerCorrection> corrected;  // In the graph's order.
  std::vector<std::string> skipped;        // "conv1: why", in the graph's order.
};

// Bias correction without images (Nagel et al. 2019, arXiv 1906.04721, 4.2.1): for each layer with a quantized weight
//   bias[o] -= sum over inputs i and taps k of (quantized weight - weight)[o, i, k] E[x_i] share[k]
// with E[x_i] from ExpectedOutputs(float_model, moments) and share[k] the share of output pixels for which tap k does
// not fall on padding (1 where there is none; the paper takes 1 throughout). Skips layers without a bias, and those
// whose input's mean is not known. `quantized` must be made from `float_model` (the same graph).
absl::StatusOr<BiasCorrection> CorrectBiasesAnalytically(const Model& float_model, const NetworkMoments& moments,
                                                         const QuantizedModel& quantized);

enum class Matched { kMean, kMeanAndStd };

// Bias correction by measurement (the same paper, appendix D): for each layer with a weight and a bias, in the graph's
// order, over the outputs y of all images in the float network and q in the quantized one, in which all layers before
// are quantized and corrected:
//   bias[o] += mean(y)[o] - mean(q)[o]                               kMean
//   scale[o] *= r,  bias[o] = r (bias[o] - mean(q)[o]) + mean(y)[o],
//   r = std(y)[o] / std(q)[o], held to [1 / kMaxStdRatio, kMaxStdRatio]   kMeanAndStd
// The latter gives a weight one scale for each output channel (a weight that stayed float is multiplied by r). For a
// folded network it is what re-estimating its batch norms would be. Channels with a standard deviation of 0 keep
// their scale. Outputs are taken before their own fake quantization.
//
// images: float32 [N, C, H, W], normalised. The quantized network sees all of them as one batch, so that each layer
// is run once: memory grows with their number times the largest outputs that are alive at the same time.
// InvalidArgument for parameters that do not fit and outputs that are NaN or infinite, naming the layer; Cancelled
// after an interrupt.
absl::StatusOr<BiasCorrection> CorrectBiasesEmpirically(const Model& float_model, const QuantizedModel& quantized,
                                                        const at::Tensor& images, Matched matched);

// Why a layer with a weight cannot be corrected: it has no bias. Nothing if it has one.
std::string WhyNotCorrected(const Layer& layer);

}  // namespace lowbit

#endif  // LOWBIT_CORRECTIONS_BIAS_CORRECTION_H_
