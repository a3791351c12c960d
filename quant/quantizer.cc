#include "quant/quantizer.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/isfinite.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "model/torch_boundary.h"

namespace lowbit {
namespace {

std::string ShapeOf(const at::Tensor& tensor) { return ShapeToString(tensor.sizes().vec()); }

// "Float [2, 3]", in LibTorch's names of types.
std::string Describe(const at::Tensor& tensor) {
  return tensor.defined() ? absl::StrCat(c10::toString(tensor.scalar_type()), " ", ShapeOf(tensor)) : "none";
}

absl::Status CheckWeight(const WeightView& view) {
  const std::string name = absl::StrCat(view.layer.name, ".weight");
  const auto shapes = ParameterShapes(view.layer.op);
  const auto shape = shapes.find("weight");
  if (!HasWeight(view.layer.op) || shape == shapes.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(view.layer.name, ": a ", OpName(view.layer.op), " layer has no weight to quantize"));
  }
  if (!view.weight.defined() || view.weight.scalar_type() != at::kFloat || view.weight.sizes().vec() != shape->second) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": expected Float ", ShapeToString(shape->second), ", got ", Describe(view.weight)));
  }
  const int64_t finite = at::isfinite(view.weight).sum().item<int64_t>();
  if (finite != view.weight.numel()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", view.weight.numel() - finite, " of ",
                                                   view.weight.numel(), " values are NaN or infinite"));
  }
  return absl::OkStatus();
}

absl::Status CheckInput(const Quantizer& quantizer, const WeightView& view) {
  if (quantizer.weight_stats_request().empty()) return absl::OkStatus();
  const std::string name = absl::StrCat(view.layer.name, ".weight");
  if (view.input == nullptr || !view.input->Fits(view.layer.op)) {
    return absl::InternalError(absl::StrCat(name, ": the calibration did not gather what quantizer \"",
                                            quantizer.name(), "\" asks for: the moments of what ", view.layer.name,
                                            " reads"));
  }
  if (view.input->images() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": no calibration image was observed, so nothing is known of what ", view.layer.name,
                     " reads, which quantizer \"", quantizer.name(), "\" asks for"));
  }
  return absl::OkStatus();
}

absl::Status CheckParams(const QuantParams& params, int bits, size_t channels) {
  LOWBIT_RETURN_IF_ERROR(params.Validate());
  if (params.bits != bits) {
    return absl::InvalidArgumentError(absl::StrCat("asked for ", bits, " bits, got ", params.bits));
  }
  if (params.scale.size() != 1 && params.scale.size() != channels) {
    const std::string wanted = channels == 1 ? "1 scale" : absl::StrCat("1 or ", channels, " scales");
    return absl::InvalidArgumentError(absl::StrCat("expected ", wanted, ", got ", params.scale.size()));
  }
  return absl::OkStatus();
}

absl::Status CheckQuantized(const WeightView& view, const QuantizedTensor& result) {
  LOWBIT_RETURN_IF_ERROR(CheckParams(result.params, view.bits, static_cast<size_t>(view.weight.size(0))));
  const at::Tensor& codes = result.codes;
  if (!codes.defined() || codes.scalar_type() != at::kInt || codes.sizes() != view.weight.sizes()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected codes Int ", ShapeOf(view.weight), ", got ", Describe(codes)));
  }
  const auto [lowest, highest] = at::aminmax(codes);
  const int32_t low = lowest.item<int32_t>();
  const int32_t high = highest.item<int32_t>();
  if (low < result.params.qmin() || high > result.params.qmax()) {
    return absl::InvalidArgumentError(absl::StrCat("codes must be in [", result.params.qmin(), ", ",
                                                   result.params.qmax(), "], got ", low, " to ", high));
  }
  return absl::OkStatus();
}

// A plugin broke its promise: not the user's mistake.
absl::Status PluginError(const Quantizer& quantizer, const Layer& layer, Role role, const absl::Status& status) {
  return absl::InternalError(absl::StrCat("quantizer \"", quantizer.name(), "\" returned an invalid ", RoleName(role),
                                          " quantization for ", layer.name, ": ", status.message()));
}

absl::Status NotImplemented(const Quantizer& quantizer, const Layer& layer, Role role) {
  return absl::UnimplementedError(absl::StrCat("quantizer \"", quantizer.name(), "\" says that it supports the ",
                                               RoleName(role), " of ", layer.name, ", but has no code for it"));
}

}  // namespace

absl::string_view RoleName(Role role) { return role == Role::kWeight ? "weight" : "activation"; }

absl::Status SupportsEverything(const Layer& layer, Role role, int bits) {
  if (role == Role::kWeight && !HasWeight(layer.op)) {
    return FieldError("name", absl::StrCat("quantizes the weights of Conv2d and Linear layers, and ", layer.name,
                                           " is a ", OpName(layer.op)));
  }
  return CheckWidth(bits);
}

absl::Status SupportsWeightsOnly(const Layer& layer, Role role, int bits) {
  LOWBIT_RETURN_IF_ERROR(CheckWidth(bits));
  if (role == Role::kWeight) return SupportsEverything(layer, role, bits);
  return FieldError("name", absl::StrCat("quantizes weights only, and this is the output of ", layer.name,
                                         "; mse or percentile serve activations"));
}

Quantizer::~Quantizer() = default;

StatsRequest Quantizer::stats_request() const { return StatsRequest(); }

WeightStatsRequest Quantizer::weight_stats_request() const { return WeightStatsRequest(); }

bool Quantizer::rounds_to_nearest() const { return true; }

absl::StatusOr<QuantizedTensor> Quantizer::QuantizeWeight(const WeightView& view) const {
  return CatchTorch([&]() -> absl::StatusOr<QuantizedTensor> {
    LOWBIT_RETURN_IF_ERROR(Supports(view.layer, Role::kWeight, view.bits));
    LOWBIT_RETURN_IF_ERROR(CheckWeight(view));
    LOWBIT_RETURN_IF_ERROR(CheckInput(*this, view));
    const at::Tensor weight = view.weight.contiguous();
    LOWBIT_ASSIGN_OR_RETURN(QuantizedTensor result,
                            DoQuantizeWeight(WeightView{view.layer, weight, view.bits, view.input}));
    const absl::Status valid = CheckQuantized(view, result);
    if (!valid.ok()) return PluginError(*this, view.layer, Role::kWeight, valid);
    return result;
  });
}

absl::StatusOr<QuantParams> Quantizer::FitActivation(const ActivationView& view) const {
  return CatchTorch([&]() -> absl::StatusOr<QuantParams> {
    LOWBIT_RETURN_IF_ERROR(Supports(view.producer, Role::kActivation, view.bits));
    if (view.statistics.images() == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(view.producer.name, ": no calibration image was observed, so there is nothing to fit"));
    }
    if (!view.statistics.request().Covers(stats_request())) {
      return absl::InternalError(absl::StrCat(view.producer.name, ": the calibration did not gather what quantizer \"",
                                              name(), "\" asks for"));
    }
    LOWBIT_ASSIGN_OR_RETURN(QuantParams params, DoFitActivation(view));
    absl::Status valid = CheckParams(params, view.bits, 1);
    if (valid.ok() && !params.bases.empty()) valid = absl::InvalidArgumentError("bases are for weights only");
    if (!valid.ok()) return PluginError(*this, view.producer, Role::kActivation, valid);
    return params;
  });
}

absl::StatusOr<QuantizedTensor> Quantizer::DoQuantizeWeight(const WeightView& view) const {
  return NotImplemented(*this, view.layer, Role::kWeight);
}

absl::StatusOr<QuantParams> Quantizer::DoFitActivation(const ActivationView& view) const {
  return NotImplemented(*this, view.producer, Role::kActivation);
}

}  // namespace lowbit
