#include "pipeline/mixed_precision_options.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "pipeline/sensitivity_plan.h"
#include "quant/quant_params.h"

namespace lowbit {
namespace {

absl::Status CheckWidths(const google::protobuf::RepeatedField<int32_t>& bits, const char* field) {
  std::set<int> widths;
  for (int i = 0; i < bits.size(); ++i) {
    const std::string at = absl::StrCat(field, "[", i, "]");
    if (!IsSupportedWidth(bits[i])) return FieldError(at, absl::StrCat("must be 1 to 8, or 16; got ", bits[i]));
    if (!widths.insert(bits[i]).second) return FieldError(at, absl::StrCat(bits[i], " is there twice"));
  }
  return absl::OkStatus();
}

absl::Status CheckMeasured(const google::protobuf::RepeatedField<int32_t>& bits, const char* field,
                           const std::vector<int>& measured) {
  for (int i = 0; i < bits.size(); ++i) {
    if (std::count(measured.begin(), measured.end(), bits[i]) > 0) continue;
    return FieldError(
        absl::StrCat(field, "[", i, "]"),
        absl::StrCat("the sensitivity step measures ", absl::StrJoin(measured, ", "), " bits, not ", bits[i]));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckMixedPrecision(const MixedPrecisionStep& config) {
  LOWBIT_RETURN_IF_ERROR(CheckWidths(config.weight_bits(), "weight_bits"));
  LOWBIT_RETURN_IF_ERROR(CheckWidths(config.activation_bits(), "activation_bits"));
  if (config.pairing() == MixedPrecisionStep::SAME && !config.activation_bits().empty()) {
    return FieldError("activation_bits",
                      "activations have the widths of the weights; `pairing: SEPARATE` gives them their own");
  }
  for (int i = 0; i < config.keep_size(); ++i) {
    const std::string field = absl::StrCat("keep[", i, "]");
    if (config.keep(i).layers().empty()) return FieldError(field + ".layers", "is missing");
    if (!IsSupportedWidth(config.keep(i).bits())) {
      return FieldError(field + ".bits", absl::StrCat("must be 1 to 8, or 16; got ", config.keep(i).bits()));
    }
  }
  const auto positive = [](const char* field, double value) {
    if (value > 0) return absl::OkStatus();
    return FieldError(field, absl::StrCat("must be above 0, got ", value));
  };
  switch (config.budget_case()) {
    case MixedPrecisionStep::kMeanWeightBits:
      LOWBIT_RETURN_IF_ERROR(positive("mean_weight_bits", config.mean_weight_bits()));
      if (config.mean_weight_bits() > 16) {
        return FieldError("mean_weight_bits", absl::StrCat("must be at most 16, got ", config.mean_weight_bits()));
      }
      break;
    case MixedPrecisionStep::kWeightBytes:
      LOWBIT_RETURN_IF_ERROR(positive("weight_bytes", static_cast<double>(config.weight_bytes())));
      break;
    case MixedPrecisionStep::kBitOperations:
      LOWBIT_RETURN_IF_ERROR(positive("bit_operations", static_cast<double>(config.bit_operations())));
      break;
    case MixedPrecisionStep::kMaxDrop:
      if (!(config.max_drop() >= 0 && config.max_drop() <= 100)) {
        return FieldError("max_drop", absl::StrCat("must be in [0, 100], got ", config.max_drop()));
      }
      break;
    case MixedPrecisionStep::BUDGET_NOT_SET:
      return absl::InvalidArgumentError(
          "names no budget; it should hold one of mean_weight_bits, weight_bytes, bit_operations and max_drop");
  }
  if (config.check_images() < 1) {
    return FieldError("check_images", absl::StrCat("must be at least 1, got ", config.check_images()));
  }
  if (config.batch_size() < 1) {
    return FieldError("batch_size", absl::StrCat("must be at least 1, got ", config.batch_size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<BitsOptions> MakeBitsOptions(const MixedPrecisionStep& config, const Graph& graph,
                                            const std::vector<int>& layers, const std::vector<int>& measured) {
  LOWBIT_RETURN_IF_ERROR(CheckMeasured(config.weight_bits(), "weight_bits", measured));
  LOWBIT_RETURN_IF_ERROR(CheckMeasured(config.activation_bits(), "activation_bits", measured));
  BitsOptions options;
  options.same = config.pairing() == MixedPrecisionStep::SAME;
  options.weight_bits.assign(config.weight_bits().begin(), config.weight_bits().end());
  options.activation_bits.assign(config.activation_bits().begin(), config.activation_bits().end());
  for (std::vector<int>* widths : {&options.weight_bits, &options.activation_bits}) {
    if (widths->empty()) *widths = measured;
    std::sort(widths->rbegin(), widths->rend());
  }
  for (int i = 0; i < config.keep_size(); ++i) {
    const std::string field = absl::StrCat("keep[", i, "]");
    const KeepBits& keep = config.keep(i);
    const auto matched = MatchLayers(keep.layers(), graph, layers, "layer that the sensitivity step measures");
    if (!matched.ok()) return PrependField(matched.status(), field);
    if (std::count(measured.begin(), measured.end(), keep.bits()) == 0) {
      return FieldError(field + ".bits", absl::StrCat("the sensitivity step measures ", absl::StrJoin(measured, ", "),
                                                      " bits, not ", keep.bits()));
    }
    for (const int layer : *matched) options.kept[layer] = keep.bits();
  }
  return options;
}

}  // namespace lowbit
