#include "quant/quantized_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "quant/packing.h"

namespace lowbit {
namespace {

// Beyond this a size is a mistake, and products of sizes would overflow.
constexpr int64_t kMaxNumbers = int64_t{1} << 40;

absl::Status Invalid(absl::string_view what, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", message));
}

// Product of the extents, or -1 if one of them is below 1 or the product absurd.
int64_t CountNumbers(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 1 || extent > kMaxNumbers / count) return -1;
    count *= extent;
  }
  return count;
}

absl::Status CheckFloat(absl::string_view name, const TensorBlob& blob, const Shape& shape) {
  if (blob.dtype != DType::kF32 || blob.shape != shape) {
    return Invalid(name, absl::StrCat("expected F32 of shape ", ShapeToString(shape), ", got ", DTypeName(blob.dtype),
                                      " of shape ", ShapeToString(blob.shape)));
  }
  const int64_t count = CountNumbers(shape);
  if (count < 0 || blob.bytes.size() != static_cast<size_t>(count) * sizeof(float)) {
    return Invalid(name, absl::StrCat(blob.bytes.size(), " bytes are not those of shape ", ShapeToString(shape)));
  }
  int64_t not_finite = 0;
  for (int64_t i = 0; i < count; ++i) {
    float value;
    std::memcpy(&value, blob.bytes.data() + static_cast<size_t>(i) * sizeof(float), sizeof(float));
    if (!std::isfinite(value)) ++not_finite;
  }
  if (not_finite > 0) {
    return Invalid(name, absl::StrCat(not_finite, " of ", count, " values are NaN or infinite"));
  }
  return absl::OkStatus();
}

// Where there are fewer levels than codes: that no code lies beyond the last level.
absl::Status CheckCodes(absl::string_view name, const PackedWeight& weight) {
  const QuantParams& params = weight.params;
  if (params.levels.empty() || params.levels.size() == size_t{1} << params.bits) return absl::OkStatus();
  std::vector<int32_t> codes(static_cast<size_t>(weight.rows() * weight.row_size()));
  UnpackCodes(weight.codes, weight.row_size(), params.bits, params.qmin(), absl::MakeSpan(codes));
  const int32_t highest = *std::max_element(codes.begin(), codes.end());
  if (highest <= params.qmax()) return absl::OkStatus();
  return Invalid(name, absl::StrCat("there are ", params.levels.size(), " levels, so codes must be in [", params.qmin(),
                                    ", ", params.qmax(), "], got ", highest));
}

absl::Status CheckWeight(absl::string_view name, const PackedWeight& weight, const Shape& shape) {
  if (weight.shape != shape) {
    return Invalid(name, absl::StrCat("expected codes for shape ", ShapeToString(shape), ", got them for shape ",
                                      ShapeToString(weight.shape)));
  }
  if (CountNumbers(shape) < 0) return Invalid(name, absl::StrCat("absurd shape ", ShapeToString(shape)));
  const absl::Status params = weight.params.Validate();
  if (!params.ok()) return Invalid(name, params.message());
  const size_t scales = weight.params.scale.size();
  if (scales != 1 && scales != static_cast<size_t>(weight.rows())) {
    return Invalid(name, absl::StrCat("expected 1 or ", weight.rows(), " scales, got ", scales));
  }
  const absl::Status packed = CheckPacked(weight.codes, weight.rows(), weight.row_size(), weight.params.bits);
  if (!packed.ok()) return Invalid(name, packed.message());
  return CheckCodes(name, weight);
}

// What layer `layer` owns, and nothing missing. Counts how many parameters and weights of the model that used up.
absl::Status CheckLayer(const QuantizedModel& model, const Layer& layer, size_t* parameters, size_t* weights) {
  const auto weight = model.weights.find(layer.name);
  if (weight != model.weights.end()) {
    if (!HasWeight(layer.op)) {
      return Invalid(layer.name, absl::StrCat("a ", OpName(layer.op), " layer has no weight to quantize"));
    }
    ++*weights;
  }
  for (const auto& [parameter, shape] : ParameterShapes(layer.op)) {
    const std::string name = absl::StrCat(layer.name, ".", parameter);
    const auto blob = model.parameters.find(name);
    const bool packed = parameter == "weight" && weight != model.weights.end();
    if (packed) LOWBIT_RETURN_IF_ERROR(CheckWeight(name, weight->second, shape));
    if (blob == model.parameters.end()) {
      if (!packed) return Invalid(name, "missing");
      continue;
    }
    if (packed) return Invalid(name, "there both in float and quantized");
    LOWBIT_RETURN_IF_ERROR(CheckFloat(name, blob->second, shape));
    ++*parameters;
  }
  return absl::OkStatus();
}

// There are entries that no layer owns: names the first.
absl::Status Unexpected(const QuantizedModel& model) {
  std::map<std::string, int> known;
  for (const Layer& layer : model.graph.layers()) {
    for (const auto& parameter : ParameterShapes(layer.op)) {
      known[absl::StrCat(layer.name, ".", parameter.first)] = 1;
    }
  }
  for (const auto& parameter : model.parameters) {
    if (known.count(parameter.first) == 0) return Invalid(parameter.first, "the network has no such parameter");
  }
  for (const auto& weight : model.weights) {
    if (model.graph.Find(weight.first) < 0) return Invalid(weight.first, "the network has no such layer");
  }
  return absl::OkStatus();
}

absl::Status CheckActivation(const QuantizedModel& model, const std::string& producer, const QuantParams& params) {
  const std::string what = absl::StrCat("activation of ", producer);
  if (model.graph.Find(producer) < 0) return Invalid(what, "the network has no such layer");
  const absl::Status valid = params.Validate();
  if (!valid.ok()) return Invalid(what, valid.message());
  if (params.scale.size() != 1) return Invalid(what, absl::StrCat("expected 1 scale, got ", params.scale.size()));
  if (!params.bases.empty()) return Invalid(what, "bases are for weights only");
  return absl::OkStatus();
}

}  // namespace

int64_t PackedWeight::row_size() const {
  int64_t size = 1;
  for (size_t i = 1; i < shape.size(); ++i) size *= shape[i];
  return size;
}

bool PackedWeight::has_zero_points() const {
  for (const float zero_point : params.zero_point) {
    if (zero_point != 0) return true;
  }
  return false;
}

absl::Status CheckQuantizedModel(const QuantizedModel& model) {
  size_t parameters = 0;
  size_t weights = 0;
  for (const Layer& layer : model.graph.layers()) {
    LOWBIT_RETURN_IF_ERROR(CheckLayer(model, layer, &parameters, &weights));
  }
  if (parameters != model.parameters.size() || weights != model.weights.size()) return Unexpected(model);
  for (const auto& [producer, params] : model.activations) {
    LOWBIT_RETURN_IF_ERROR(CheckActivation(model, producer, params));
  }
  return absl::OkStatus();
}

int64_t WeightBytes(const QuantizedModel& model) {
  int64_t bytes = 0;
  for (const Layer& layer : model.graph.layers()) {
    if (!HasWeight(layer.op)) continue;
    const auto weight = model.weights.find(layer.name);
    if (weight == model.weights.end()) {
      bytes += 4 * CountNumbers(ParameterShapes(layer.op).at("weight"));
      continue;
    }
    const int64_t scales = static_cast<int64_t>(weight->second.params.scale.size());
    bytes += static_cast<int64_t>(weight->second.codes.size());
    bytes += 4 * scales * (weight->second.has_zero_points() ? 2 : 1);
    bytes += 4 * static_cast<int64_t>(weight->second.params.bases.size() + weight->second.params.levels.size());
  }
  return bytes;
}

int64_t FloatWeightBytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const Layer& layer : graph.layers()) {
    if (HasWeight(layer.op)) bytes += 4 * CountNumbers(ParameterShapes(layer.op).at("weight"));
  }
  return bytes;
}

}  // namespace lowbit
