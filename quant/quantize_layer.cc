#include "quant/quantize_layer.h"

#include "base/check.h"

namespace lowbit {

absl::StatusOr<QuantizedTensor> QuantizeLayerWeight(const Quantizer& quantizer, const Model& model,
                                                    const std::map<std::string, InputStatistics>* inputs, int layer,
                                                    int bits) {
  const Layer& decided = model.graph.layer(layer);
  const at::Tensor& weight = model.parameters.at(ParameterName(decided.name, "weight"));
  const InputStatistics* input = nullptr;
  if (!quantizer.weight_stats_request().empty()) {
    LOWBIT_CHECK(inputs != nullptr && inputs->count(decided.name) == 1, "no statistics of the input of ", decided.name);
    input = &inputs->at(decided.name);
  }
  return quantizer.QuantizeWeight({decided, weight, bits, input});
}

absl::StatusOr<QuantParams> FitLayerActivation(const Quantizer& quantizer, const Graph& graph,
                                               const std::map<std::string, TensorStatistics>* statistics, int producer,
                                               int bits) {
  const Layer& layer = graph.layer(producer);
  LOWBIT_CHECK(statistics != nullptr && statistics->count(layer.name) == 1, "no statistics of ", layer.name);
  return quantizer.FitActivation({layer, statistics->at(layer.name), bits});
}

}  // namespace lowbit
