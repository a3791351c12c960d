#include "quant/quantize_layer.h"

#include "base/check.h"

namespace lowbit {

absl::StatusOr<QuantizedTensor> QuantizeLayerWeight(const Quantizer& quantizer, const Model& model, int layer,
                                                    int bits) {
  const Layer& decided = model.graph.layer(layer);
  const at::Tensor& weight = model.parameters.at(ParameterName(decided.name, "weight"));
  return quantizer.QuantizeWeight({decided, weight, bits});
}

absl::StatusOr<QuantParams> FitLayerActivation(const Quantizer& quantizer, const Graph& graph,
                                               const std::map<std::string, TensorStatistics>* statistics, int producer,
                                               int bits) {
  const Layer& layer = graph.layer(producer);
  LOWBIT_CHECK(statistics != nullptr && statistics->count(layer.name) == 1, "no statistics of ", layer.name);
  return quantizer.FitActivation({layer, statistics->at(layer.name), bits});
}

}  // namespace lowbit
