#include "pipeline/sweep.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "pipeline/field_path.h"
#include "pipeline/paths.h"

namespace lowbit {
namespace {

// The first step that a field belongs to; 0 for one that all steps depend on.
absl::StatusOr<int> FirstTouchedStep(const std::string& field, int step_count) {
  LOWBIT_ASSIGN_OR_RETURN(const FieldPath path, ParseFieldPath(field));
  const PathElement& root = path.front();
  if (root.name == "model" || root.name == "seed") return 0;
  if (root.name == "steps" && root.index >= 0) return std::min(root.index, step_count);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", field, "\" cannot be swept; fields of steps[...] and model can, and seed"));
}

absl::Status CheckSweep(const SweepConfig& sweep) {
  if (sweep.fields().empty()) return FieldError("sweep", "has no fields to give the values to");
  if (sweep.values().empty()) return FieldError("sweep", "has no values");
  std::set<std::string> names;
  for (int i = 0; i < sweep.values_size(); ++i) {
    const std::string field = absl::StrCat("sweep.values[", i, "]");
    if (sweep.values(i).empty()) return FieldError(field, "is empty");
    if (!names.insert(VariantFileName(sweep.column(), sweep.values(i))).second) {
      return FieldError(field,
                        absl::StrCat("\"", sweep.values(i), "\" would be written to the file of an earlier value"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string VariantFileName(const std::string& column, const std::string& value) {
  return SafeFileName(absl::StrCat(column, "=", value));
}

absl::StatusOr<Sweep> ExpandSweep(const Config& config) {
  Sweep expanded;
  if (!config.proto().has_sweep()) {
    expanded.variants.push_back({"", config});
    return expanded;
  }
  const SweepConfig& sweep = config.proto().sweep();
  LOWBIT_RETURN_IF_ERROR(config.Locate(CheckSweep(sweep)));
  expanded.shared_steps = config.proto().steps_size();
  for (int i = 0; i < sweep.fields_size(); ++i) {
    const auto first = FirstTouchedStep(sweep.fields(i), config.proto().steps_size());
    if (!first.ok()) return config.Locate(PrependField(first.status(), absl::StrCat("sweep.fields[", i, "]")));
    expanded.shared_steps = std::min(expanded.shared_steps, *first);
  }
  for (int i = 0; i < sweep.values_size(); ++i) {
    const FieldPath value_path = {{"sweep", -1}, {"values", i}};
    const std::string origin = absl::StrCat(config.Origin(value_path), ": ", sweep.column(), "=", sweep.values(i));
    SweepVariant variant{sweep.values(i), config};
    for (const std::string& field : sweep.fields()) {
      LOWBIT_RETURN_IF_ERROR(variant.config.Set(field, sweep.values(i), origin));
    }
    expanded.variants.push_back(std::move(variant));
  }
  return expanded;
}

}  // namespace lowbit
