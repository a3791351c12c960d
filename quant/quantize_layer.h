#ifndef LOWBIT_QUANT_QUANTIZE_LAYER_H_
#define LOWBIT_QUANT_QUANTIZE_LAYER_H_

// How a quantizer is asked to decide the weight of one layer of a network, or the tensor that one puts out. Steps that
// quantize go through here, so that all of them hand over the same.

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "quant/input_statistics.h"
#include "quant/quantizer.h"

namespace lowbit {

// The weight of layer `layer`. `inputs`, by layer name, must have what the layer reads if the quantizer asks for it.
// Errors as Quantizer::QuantizeWeight.
absl::StatusOr<QuantizedTensor> QuantizeLayerWeight(const Quantizer& quantizer, const Model& model,
                                                    const std::map<std::string, InputStatistics>* inputs, int layer,
                                                    int bits);

// The tensor that layer `producer` puts out. `statistics`, by layer name, must have it. Errors as
// Quantizer::FitActivation.
absl::StatusOr<QuantParams> FitLayerActivation(const Quantizer& quantizer, const Graph& graph,
                                               const std::map<std::string, TensorStatistics>* statistics, int producer,
                                               int bits);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_QUANTIZE_LAYER_H_
