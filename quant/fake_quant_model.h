#ifndef LOWBIT_QUANT_FAKE_QUANT_MODEL_H_
#define LOWBIT_QUANT_FAKE_QUANT_MODEL_H_

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/executor.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"
#include "quant/quantizer.h"

namespace lowbit {

// A QuantizedModel made from tensors, and run in floats that take only the values of the integer codes:
//
//   LOWBIT_ASSIGN_OR_RETURN(QuantizedModel quantized, ToQuantizedModel(model));
//   LOWBIT_RETURN_IF_ERROR(SetWeight("conv1", quantized_tensor, &quantized));      // for each weight
//   quantized.activations["relu"] = params;                                        // for each activation
//
//   LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(quantized));
//   LOWBIT_ASSIGN_OR_RETURN(Executor executor, Executor::Create(quantized.graph, parameters));
//   FakeQuantHook hook(quantized);
//   executor.Forward(images, &hook);

// With nothing quantized yet. InvalidArgument as CheckParameters.
absl::StatusOr<QuantizedModel> ToQuantizedModel(const Model& model);

// Packs the weight of a layer, in place of the float one or of the one that was set before. InvalidArgument, naming the
// layer, if there is no such layer, it has no weight, or shape or parameters do not fit.
absl::Status SetWeight(absl::string_view layer, const QuantizedTensor& weight, QuantizedModel* model);

// Puts another value in the place of a parameter that is float in the model, of the same shape: "conv1.bias".
// InvalidArgument, naming it, if there is none of that name or shape.
absl::Status SetParameter(absl::string_view name, const at::Tensor& value, QuantizedModel* model);

// The codes of a packed weight, int32 in the weight's shape.
at::Tensor UnpackWeight(const PackedWeight& weight);

// All parameters of the graph in floats; quantized weights are the values of their codes. InvalidArgument as
// CheckQuantizedModel.
absl::StatusOr<ParameterMap> FakeQuantParameters(const QuantizedModel& model);

// Fake-quantizes activations on their way through an Executor of the same graph. Keeps its own copy of the parameters,
// no state: one hook may serve several threads. The model must be valid (CheckQuantizedModel).
class FakeQuantHook : public LayerHook {
 public:
  explicit FakeQuantHook(const QuantizedModel& model);

  at::Tensor OnOutput(int layer, at::Tensor y) override;

 private:
  std::vector<std::optional<QuantParams>> params_;  // by layer index
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_FAKE_QUANT_MODEL_H_
