#include "quant/twin_activations.h"

#include <cstddef>
#include <utility>
#include <variant>

#include "base/interrupt.h"
#include "base/status_macros.h"
#include "model/passes/segment.h"

namespace lowbit {

QuantizedModel PartOfQuantizedModel(const QuantizedModel& quantized, const Graph& segment) {
  QuantizedModel part{segment, {}, {}, {}, {}};
  for (const Layer& layer : segment.layers()) {
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
  return part;
}

absl::StatusOr<QuantizedSegment> QuantizedSegment::Create(const QuantizedModel& quantized, const Graph& segment) {
  const QuantizedModel part = PartOfQuantizedModel(quantized, segment);
  LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(part));
  LOWBIT_ASSIGN_OR_RETURN(Executor executor, Executor::Create(segment, std::move(parameters)));
  return QuantizedSegment{std::move(executor), FakeQuantHook(part)};
}

absl::Status TwinActivations::AdvanceTo(int cut, const QuantizedModel& quantized) {
  if (cut == cut_) return absl::OkStatus();
  const Model segment = Segment(model_, cut_, cut);
  LOWBIT_ASSIGN_OR_RETURN(const Executor float_executor, Executor::Create(segment.graph, segment.parameters));
  LOWBIT_ASSIGN_OR_RETURN(QuantizedSegment part, QuantizedSegment::Create(quantized, segment.graph));
  for (size_t i = 0; i < float_.size(); ++i) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(float_[i], float_executor.Forward(float_[i]));
    LOWBIT_ASSIGN_OR_RETURN(quantized_[i], part.executor.Forward(quantized_[i], &part.hook));
    if (cache_ == nullptr) continue;
    LOWBIT_ASSIGN_OR_RETURN(float_[i], cache_->Hold(float_[i]));
    LOWBIT_ASSIGN_OR_RETURN(quantized_[i], cache_->Hold(quantized_[i]));
  }
  cut_ = cut;
  return absl::OkStatus();
}

}  // namespace lowbit
