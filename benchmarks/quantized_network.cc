#include "benchmarks/quantized_network.h"

#include <ATen/ops/rand.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/check.h"
#include "model/executor.h"
#include "quant/fake_quant_model.h"
#include "quant/quantizer_registry.h"

namespace lowbit {
namespace {

template <typename T>
T Checked(absl::StatusOr<T> value) {
  LOWBIT_CHECK(value.ok(), value.status().message());
  return *std::move(value);
}

class Observer : public LayerHook {
 public:
  explicit Observer(StatsRequest request) : request_(std::move(request)) {}
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    LOWBIT_CHECK(statistics_.emplace(layer, TensorStatistics(request_)).first->second.Observe(y).ok(), "not finite");
    return y;
  }
  const TensorStatistics& of(int layer) const { return statistics_.at(layer); }

 private:
  const StatsRequest request_;
  std::map<int, TensorStatistics> statistics_;
};

Observer Observe(const Model& folded, const Quantizer& quantizer) {
  Observer observer(quantizer.stats_request());
  const Executor executor = Checked(Executor::Create(folded.graph, folded.parameters));
  const Shape& shape = folded.graph.input_shape();
  Checked(executor.Forward(at::rand({8, shape[0], shape[1], shape[2]}), &observer));
  return observer;
}

}  // namespace

QuantizedModel QuantizeForBenchmark(const Model& folded, const Widths& widths) {
  const std::unique_ptr<Quantizer> quantizer = Checked(CreateQuantizer("per_channel"));
  const Observer observer = Observe(folded, *quantizer);
  QuantizedModel quantized = Checked(ToQuantizedModel(folded));
  for (const Layer& layer : folded.graph.layers()) {
    if (!HasWeight(layer.op)) continue;
    const int producer = layer.inputs.front();
    const bool at_an_end = producer == 0 || std::holds_alternative<Linear>(layer.op);
    const at::Tensor& weight = folded.parameters.at(ParameterName(layer.name, "weight"));
    const QuantizedTensor codes =
        Checked(quantizer->QuantizeWeight({layer, weight, at_an_end ? widths.ends : widths.weights, nullptr}));
    LOWBIT_CHECK(SetWeight(layer.name, codes, &quantized).ok(), layer.name);
    const Layer& from = folded.graph.layer(producer);
    quantized.activations[from.name] =
        Checked(quantizer->FitActivation({from, observer.of(producer), at_an_end ? widths.ends : widths.activations}));
  }
  return quantized;
}

TorchInt8Model TorchInt8ForBenchmark(const Model& folded, const std::string& engine) {
  const std::unique_ptr<Quantizer> quantizer = Checked(CreateQuantizer("min_max"));
  const Observer observer = Observe(folded, *quantizer);
  std::map<std::string, QuantParams> activations;
  for (const int layer : TorchInt8Tensors(folded.graph)) {
    const Layer& from = folded.graph.layer(layer);
    QuantParams params = Checked(quantizer->FitActivation({from, observer.of(layer), 8}));
    if (params.is_signed) {  // the same grid with the codes that LibTorch wants
      params.is_signed = false;
      for (float& zero_point : params.zero_point) zero_point += 128;
    }
    activations[from.name] = params;
  }
  return Checked(TorchInt8Model::Create(folded, activations, engine));
}

}  // namespace lowbit
