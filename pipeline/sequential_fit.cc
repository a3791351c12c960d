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
  std::vector<at::Tensor> batches;
  LOWBIT_RETURN_IF_ERROR(LoadCalibrationImages(images, num_images, data, [&](const at::Tensor& batch) {
    batches.push_back(batch.clone());
    return absl::OkStatus();
  }));
  return SequentialFitter(model, std::move(batches));
}

absl::StatusOr<LayerRegression> SequentialFitter::Regress(const FitTarget& target, const QuantizedModel& quantized) {
  // Everything goes through here on its way to the network's end, not only to the target.
  const int cut = LastCut(model_.graph, target.layer, model_.graph.size() - 1);
  LOWBIT_RETURN_IF_ERROR(twins_.AdvanceTo(cut, quantized));
  const Model segment = Segment(model_, cut, target.last());
  const std::string& name = model_.graph.layer(target.layer).name;
  const int layer = segment.graph.Find(name);
  const int last = segment.graph.size() - 1;
  LOWBIT_ASSIGN_OR_RETURN(const Executor float_executor, Executor::Create(segment.graph, segment.parameters));
  LOWBIT_ASSIGN_OR_RETURN(QuantizedSegment part, QuantizedSegment::Create(quantized, segment.graph));
  LayerRegression regression(segment.graph.layer(layer).op);
  at::Tensor x, other;
  Capture capture(&part.hook);
  capture.WantInput(layer, 0, &x);
  if (target.add >= 0) capture.WantInput(last, target.other_input, &other);
  for (size_t i = 0; i < twins_.in_float().size(); ++i) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(at::Tensor t, float_executor.Forward(twins_.in_float()[i]));
    LOWBIT_RETURN_IF_ERROR(part.executor.Forward(twins_.in_quantized()[i], &capture).status());
    const absl::Status status = regression.Observe(x, target.add >= 0 ? t.sub(other) : t);
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
  }
  return regression;
}

}  // namespace lowbit
