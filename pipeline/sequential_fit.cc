#include "pipeline/sequential_fit.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "evaluation/batch_tensor.h"
#include "model/executor.h"
#include "model/passes/prefix.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

// What is needed of a pass: an input or output of a layer, which may be overwritten later.
class Capture : public LayerHook {
 public:
  // `then` sees each output first and may change it; may be null.
  explicit Capture(LayerHook* then) : then_(then) {}

  void WantInput(int layer, int input_index, at::Tensor* to) { inputs_.push_back({layer, input_index, to}); }
  void WantOutput(int layer, at::Tensor* to) { outputs_.push_back({layer, 0, to}); }

  at::Tensor OnInput(int layer, int input_index, at::Tensor x) override {
    for (const Wanted& wanted : inputs_) {
      if (wanted.layer == layer && wanted.input_index == input_index) *wanted.to = x.clone();
    }
    return x;
  }

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    if (then_ != nullptr) y = then_->OnOutput(layer, std::move(y));
    for (const Wanted& wanted : outputs_) {
      if (wanted.layer == layer) *wanted.to = y.clone();
    }
    return y;
  }

 private:
  struct Wanted {
    int layer;
    int input_index;
    at::Tensor* to;
  };

  LayerHook* const then_;
  std::vector<Wanted> inputs_, outputs_;
};

// Those layers of the quantized network that `graph` has.
QuantizedModel QuantizedPrefix(const QuantizedModel& quantized, const Graph& graph) {
  QuantizedModel prefix{graph, {}, {}, {}, {}};
  for (const Layer& layer : graph.layers()) {
    for (const auto& [name, shape] : ParameterShapes(layer.op)) {
      const auto parameter = quantized.parameters.find(ParameterName(layer.name, name));
      if (parameter != quantized.parameters.end()) prefix.parameters.insert(*parameter);
    }
    const auto weight = quantized.weights.find(layer.name);
    if (weight != quantized.weights.end()) prefix.weights.insert(*weight);
    const auto activation = quantized.activations.find(layer.name);
    if (activation != quantized.activations.end()) prefix.activations.insert(*activation);
  }
  return prefix;
}

}  // namespace

FitTarget ChooseTarget(const Graph& graph, int layer, const std::set<int>& pending, bool correct_sums) {
  FitTarget target{layer};
  const std::vector<int>& readers = graph.consumers(layer);
  if (!correct_sums || readers.size() != 1) return target;
  const Layer& add = graph.layer(readers.front());
  if (!std::holds_alternative<Add>(add.op)) return target;
  const int other_input = add.inputs[0] == layer ? 1 : 0;
  const std::vector<int> needed = NeededLayers(graph, add.inputs[static_cast<size_t>(other_input)]);
  if (std::any_of(needed.begin(), needed.end(), [&](int i) { return pending.count(i) > 0; })) return target;
  target.add = readers.front();
  target.other_input = other_input;
  return target;
}

absl::StatusOr<LayerRegression> RegressLayer(const FitTarget& target, const Model& model,
                                             const QuantizedModel& quantized, const CalibrationImages& images,
                                             int64_t num_images, DataSource* data) {
  const Model prefix = Prefix(model, target.last());
  const std::string& name = model.graph.layer(target.layer).name;
  const int layer = prefix.graph.Find(name);
  const int last = prefix.graph.size() - 1;
  LOWBIT_ASSIGN_OR_RETURN(const Executor float_executor, Executor::Create(prefix.graph, prefix.parameters));
  const QuantizedModel quantized_prefix = QuantizedPrefix(quantized, prefix.graph);
  LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(quantized_prefix));
  LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(prefix.graph, std::move(parameters)));
  FakeQuantHook fake_quantize(quantized_prefix);

  at::Tensor t, x, other;
  Capture in_float(nullptr), in_quantized(&fake_quantize);
  in_float.WantOutput(last, &t);
  in_quantized.WantInput(layer, 0, &x);
  if (target.add >= 0) in_quantized.WantInput(last, target.other_input, &other);

  LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, data->Get(Split::kTrain));
  LoaderOptions options;
  options.order = images.indices;
  options.order.resize(static_cast<size_t>(num_images));
  options.batch_size = images.batch_size;
  options.normalization = data->normalization();
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(train, std::move(options)));
  LayerRegression regression(prefix.graph.layer(layer).op);
  while (true) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
    if (!batch.has_value()) break;
    const at::Tensor pixels = ImagesTensor(*batch);
    LOWBIT_RETURN_IF_ERROR(float_executor.Forward(pixels, &in_float).status());
    LOWBIT_RETURN_IF_ERROR(executor.Forward(pixels, &in_quantized).status());
    const absl::Status status = regression.Observe(x, target.add >= 0 ? t.sub(other) : t);
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
  }
  return regression;
}

}  // namespace lowbit
