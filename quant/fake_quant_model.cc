#include "quant/fake_quant_model.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "quant/fake_quantize.h"
#include "quant/packing.h"

namespace lowbit {
namespace {

TensorBlob ToBlob(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  TensorBlob blob;
  blob.dtype = DType::kF32;
  blob.shape = dense.sizes().vec();
  blob.bytes.assign(static_cast<const char*>(dense.data_ptr()), static_cast<size_t>(dense.nbytes()));
  return blob;
}

at::Tensor ToTensor(const TensorBlob& blob) {
  at::Tensor tensor = at::empty(blob.shape, at::kFloat);
  std::memcpy(tensor.data_ptr(), blob.bytes.data(), blob.bytes.size());
  return tensor;
}

}  // namespace

absl::StatusOr<QuantizedModel> ToQuantizedModel(const Model& model) {
  LOWBIT_RETURN_IF_ERROR(CheckParameters(model.graph, model.parameters));
  QuantizedModel quantized{model.graph, {}, {}, {}, {}};
  for (const auto& [name, tensor] : model.parameters) quantized.parameters[name] = ToBlob(tensor);
  return quantized;
}

absl::Status SetWeight(absl::string_view layer, const QuantizedTensor& weight, QuantizedModel* model) {
  const std::string name = ParameterName(layer, "weight");
  const int index = model->graph.Find(layer);
  if (index < 0 || !HasWeight(model->graph.layer(index).op)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": the network has no layer of this name with a weight"));
  }
  const Shape shape = ParameterShapes(model->graph.layer(index).op).at("weight");
  if (weight.codes.scalar_type() != at::kInt || weight.codes.sizes().vec() != shape) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected int32 codes of shape ", ShapeToString(shape),
                                                   ", got shape ", ShapeToString(weight.codes.sizes().vec())));
  }
  const absl::Status valid = weight.params.Validate();
  if (!valid.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", valid.message()));
  const size_t scales = weight.params.scale.size();
  if (scales != 1 && scales != static_cast<size_t>(shape[0])) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected 1 or ", shape[0], " scales, got ", scales));
  }
  const at::Tensor codes = weight.codes.contiguous();
  PackedWeight packed;
  packed.shape = shape;
  packed.params = weight.params;
  packed.codes = PackCodes(absl::MakeConstSpan(codes.data_ptr<int32_t>(), static_cast<size_t>(codes.numel())),
                           packed.row_size(), packed.params.bits, packed.params.qmin());
  model->weights[std::string(layer)] = std::move(packed);
  model->parameters.erase(name);
  return absl::OkStatus();
}

absl::Status SetParameter(absl::string_view name, const at::Tensor& value, QuantizedModel* model) {
  const auto parameter = model->parameters.find(std::string(name));
  if (parameter == model->parameters.end()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": the network has no float parameter of this name"));
  }
  if (value.scalar_type() != at::kFloat || value.sizes().vec() != parameter->second.shape) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected Float ", ShapeToString(parameter->second.shape),
                                                   ", got ", c10::toString(value.scalar_type()), " ",
                                                   ShapeToString(value.sizes().vec())));
  }
  parameter->second = ToBlob(value);
  return absl::OkStatus();
}

at::Tensor UnpackWeight(const PackedWeight& weight) {
  at::Tensor codes = at::empty(weight.shape, at::kInt);
  UnpackCodes(weight.codes, weight.row_size(), weight.params.bits, weight.params.qmin(),
              absl::MakeSpan(codes.data_ptr<int32_t>(), static_cast<size_t>(codes.numel())));
  return codes;
}

absl::StatusOr<ParameterMap> FakeQuantParameters(const QuantizedModel& model) {
  LOWBIT_RETURN_IF_ERROR(CheckQuantizedModel(model));
  ParameterMap parameters;
  for (const auto& [name, blob] : model.parameters) parameters[name] = ToTensor(blob);
  for (const auto& [layer, weight] : model.weights) {
    parameters[ParameterName(layer, "weight")] = Dequantize(UnpackWeight(weight), weight.params);
  }
  return parameters;
}

FakeQuantHook::FakeQuantHook(const QuantizedModel& model) : params_(static_cast<size_t>(model.graph.size())) {
  for (const auto& [producer, params] : model.activations) {
    const int layer = model.graph.Find(producer);
    LOWBIT_CHECK(layer >= 0, "no layer ", producer);
    params_[static_cast<size_t>(layer)] = params;
  }
}

at::Tensor FakeQuantHook::OnOutput(int layer, at::Tensor y) {
  const std::optional<QuantParams>& params = params_[static_cast<size_t>(layer)];
  return params.has_value() ? FakeQuantizeInPlace(std::move(y), *params) : y;
}

}  // namespace lowbit
