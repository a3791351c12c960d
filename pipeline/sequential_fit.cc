#include "pipeline/sequential_fit.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "model/executor.h"
#include "model/passes/segment.h"
#include "pipeline/calibration_images.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

// Fake-quantizes activations, and keeps some of what layers read.
class Capture : public LayerHook {
 public:
  explicit Capture(FakeQuantHook* quantize) : quantize_(quantize) {}

  void WantInput(int layer, int input_index, at::Tensor* to) { wanted_.push_back({layer, input_index, to}); }

  at::Tensor OnInput(int layer, int input_index, at::Tensor x) override {
    for (const Wanted& wanted : wanted_) {
      // (A clone: later layers may overwrite it.)
      if (wanted.layer == layer && wanted.input_index == input_index) *wanted.to = x.clone();
    }
    return x;
  }

  at::Tensor OnOutput(int layer, at::Tensor y) override { return quantize_->OnOutput(layer, std::move(y)); }

 private:
  struct Wanted {
    int layer;
    int input_index;
    at::Tensor* to;
  };

  FakeQuantHook* const quantize_;
  std::vector<Wanted> wanted_;
};

// Those layers of the quantized network that `graph`, a segment of it, has.
struct QuantizedPart {
  Executor executor;
  FakeQuantHook hook;

  static absl::StatusOr<QuantizedPart> Create(const QuantizedModel& quantized, const Graph& graph) {
    QuantizedModel part{graph, {}, {}, {}, {}};
    for (const Layer& layer : graph.layers()) {
      // What comes in is what the layer of this name has put out: it is quantized already.
      if (std::holds_alternative<Input>(layer.op) && quantized.graph.layer(0).name != layer.name) continue;
      for (const auto& [name, shape] : ParameterShapes(layer.op)) {
        const auto parameter = quantized.parameters.find(ParameterName(layer.name, name));
        if (parameter != quantized.parameters.end()) part.parameters.insert(*parameter);
      }
      const auto weight = quantized.weights.find(layer.name);
      if (weight != quantized.weights.end()) part.weights.insert(*weight);
      const auto activation = quantized.activations.find(layer.name);
      if (activation != quantized.activations.end()) part.activations.insert(*activation);
    }
    LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(part));
    LOWBIT_ASSIGN_OR_RETURN(Executor executor, Executor::Create(graph, std::move(parameters)));
    return QuantizedPart{std::move(executor), FakeQuantHook(part)};
  }
};

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

absl::StatusOr<SequentialFitter> SequentialFitter::Create(const Model& model, const CalibrationImages& images,
                                                          int64_t num_images, DataSource* data) {
  SequentialFitter fitter(model);
  LOWBIT_RETURN_IF_ERROR(LoadCalibrationImages(images, num_images, data, [&](const at::Tensor& batch) {
    fitter.float_.push_back(batch.clone());
    return absl::OkStatus();
  }));
  fitter.quantized_ = fitter.float_;
  return fitter;
}

absl::Status SequentialFitter::AdvanceTo(int cut, const QuantizedModel& quantized) {
  if (cut == cut_) return absl::OkStatus();
  const Model segment = Segment(model_, cut_, cut);
  LOWBIT_ASSIGN_OR_RETURN(const Executor float_executor, Executor::Create(segment.graph, segment.parameters));
  LOWBIT_ASSIGN_OR_RETURN(QuantizedPart part, QuantizedPart::Create(quantized, segment.graph));
  for (size_t i = 0; i < float_.size(); ++i) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(float_[i], float_executor.Forward(float_[i]));
    LOWBIT_ASSIGN_OR_RETURN(quantized_[i], part.executor.Forward(quantized_[i], &part.hook));
  }
  cut_ = cut;
  return absl::OkStatus();
}

absl::StatusOr<LayerRegression> SequentialFitter::Regress(const FitTarget& target, const QuantizedModel& quantized) {
  LOWBIT_RETURN_IF_ERROR(AdvanceTo(LastCut(model_.graph, target.layer, target.last()), quantized));
  const Model segment = Segment(model_, cut_, target.last());
  const std::string& name = model_.graph.layer(target.layer).name;
  const int layer = segment.graph.Find(name);
  const int last = segment.graph.size() - 1;
  LOWBIT_ASSIGN_OR_RETURN(const Executor float_executor, Executor::Create(segment.graph, segment.parameters));
  LOWBIT_ASSIGN_OR_RETURN(QuantizedPart part, QuantizedPart::Create(quantized, segment.graph));
  LayerRegression regression(segment.graph.layer(layer).op);
  at::Tensor x, other;
  Capture capture(&part.hook);
  capture.WantInput(layer, 0, &x);
  if (target.add >= 0) capture.WantInput(last, target.other_input, &other);
  for (size_t i = 0; i < float_.size(); ++i) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(at::Tensor t, float_executor.Forward(float_[i]));
    LOWBIT_RETURN_IF_ERROR(part.executor.Forward(quantized_[i], &capture).status());
    const absl::Status status = regression.Observe(x, target.add >= 0 ? t.sub(other) : t);
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
  }
  return regression;
}

}  // namespace lowbit
