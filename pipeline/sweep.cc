#include "pipeline/sweep.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/did_you_mean.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "pipeline/field_path.h"
#include "pipeline/paths.h"

namespace lowbit {
namespace {

constexpr int64_t kMostVariants = 10000;
// Of a variant, in a file's name; "model_", an ending and what is temporary in a name come on top.
constexpr size_t kLongestName = 200;

// The fields and values of one value of a sweep.
struct Setting {
  const google::protobuf::RepeatedPtrField<std::string>* fields;
  std::string value;
  FieldPath origin;  // where the value stands in the config
};

int ValueCount(const SweepConfig& sweep) { return sweep.cases().empty() ? sweep.values_size() : sweep.cases_size(); }

std::string ValueName(const SweepConfig& sweep, int i) {
  return sweep.cases().empty() ? sweep.values(i) : sweep.cases(i).name();
}

std::vector<Setting> SettingsOf(const SweepConfig& sweep, int sweep_index, int value) {
  std::vector<Setting> settings;
  if (sweep.cases().empty()) {
    settings.push_back({&sweep.fields(), sweep.values(value), {{"sweep", sweep_index}, {"values", value}}});
    return settings;
  }
  for (int i = 0; i < sweep.cases(value).set_size(); ++i) {
    const FieldSetting& set = sweep.cases(value).set(i);
    settings.push_back(
        {&set.fields(), set.value(), {{"sweep", sweep_index}, {"cases", value}, {"set", i}, {"value", -1}}});
  }
  return settings;
}

// Notes where a field makes a difference.
absl::Status Touch(const std::string& field, int step_count, SweepAxis* axis) {
  LOWBIT_ASSIGN_OR_RETURN(const FieldPath path, ParseFieldPath(field));
  const PathElement& root = path.front();
  if (root.name == "seed") {
    axis->touches_seed = true;
  } else if (root.name == "model") {
    axis->first_step = -1;
  } else if (root.name == "steps" && root.index >= 0) {
    axis->first_step = std::min(axis->first_step, root.index);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", field, "\" cannot be swept; fields of steps[...] and model can, and seed"));
  }
  axis->first_step = std::min(axis->first_step, step_count);
  return absl::OkStatus();
}

absl::Status TouchAll(const google::protobuf::RepeatedPtrField<std::string>& fields, const std::string& where,
                      int step_count, SweepAxis* axis) {
  for (int i = 0; i < fields.size(); ++i) {
    const absl::Status status = Touch(fields.Get(i), step_count, axis);
    if (!status.ok()) return PrependField(status, absl::StrCat(where, "[", i, "]"));
  }
  return absl::OkStatus();
}

absl::Status CheckForm(const SweepConfig& sweep) {
  if (sweep.column().empty()) return FieldError("column", "is empty");
  if (sweep.cases().empty()) {
    if (sweep.fields().empty()) {
      return absl::InvalidArgumentError("has no fields to give the values to");
    }
    if (sweep.values().empty()) return absl::InvalidArgumentError("has no values");
    return absl::OkStatus();
  }
  if (!sweep.fields().empty())
    return FieldError("fields[0]", "there are cases too, which say themselves what they set");
  if (!sweep.values().empty()) return FieldError("values[0]", "there are cases too; take out one of the two");
  for (int i = 0; i < sweep.cases_size(); ++i) {
    const std::string field = absl::StrCat("cases[", i, "]");
    if (sweep.cases(i).name().empty()) return FieldError(field, "has no name");
    for (int j = 0; j < sweep.cases(i).set_size(); ++j) {
      const std::string set_field = absl::StrCat(field, ".set[", j, "]");
      if (sweep.cases(i).set(j).fields().empty()) return FieldError(set_field, "has no fields to give the value to");
      if (!sweep.cases(i).set(j).has_value()) return FieldError(set_field, "has no value");
    }
  }
  if (std::all_of(sweep.cases().begin(), sweep.cases().end(), [](const auto& c) { return c.set().empty(); })) {
    return FieldError("cases", "none of them sets anything");
  }
  return absl::OkStatus();
}

absl::Status CheckNames(const SweepConfig& sweep) {
  const std::string list = sweep.cases().empty() ? "values" : "cases";
  std::set<std::string> names;
  for (int i = 0; i < ValueCount(sweep); ++i) {
    const std::string field = absl::StrCat(list, "[", i, "]", sweep.cases().empty() ? "" : ".name");
    const std::string name = ValueName(sweep, i);
    if (name.empty()) return FieldError(field, "is empty");
    if (!names.insert(SafeFileName(name)).second) {
      return FieldError(field, absl::StrCat("\"", name, "\" would be written to the file of an earlier value"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SweepAxis> MakeAxis(const SweepConfig& sweep, int step_count) {
  LOWBIT_RETURN_IF_ERROR(CheckForm(sweep));
  LOWBIT_RETURN_IF_ERROR(CheckNames(sweep));
  SweepAxis axis;
  axis.column = sweep.column();
  axis.first_step = step_count;
  LOWBIT_RETURN_IF_ERROR(TouchAll(sweep.fields(), "fields", step_count, &axis));
  for (int i = 0; i < ValueCount(sweep); ++i) axis.values.push_back(ValueName(sweep, i));
  for (int i = 0; i < sweep.cases_size(); ++i) {
    for (int j = 0; j < sweep.cases(i).set_size(); ++j) {
      LOWBIT_RETURN_IF_ERROR(TouchAll(sweep.cases(i).set(j).fields(),
                                      absl::StrCat("cases[", i, "].set[", j, "].fields"), step_count, &axis));
    }
  }
  return axis;
}

absl::StatusOr<std::vector<SweepAxis>> MakeAxes(const PipelineConfig& config) {
  std::vector<SweepAxis> axes;
  std::set<std::string> columns;
  int64_t combinations = 1;
  size_t longest = 0;
  for (int i = 0; i < config.sweep_size(); ++i) {
    const std::string field = absl::StrCat("sweep[", i, "]");
    auto axis = MakeAxis(config.sweep(i), config.steps_size());
    if (!axis.ok()) return PrependField(axis.status(), field);
    if (!columns.insert(SafeFileName(axis->column)).second) {
      return FieldError(field, absl::StrCat("its column \"", axis->column, "\" is that of an earlier sweep too"));
    }
    combinations *= static_cast<int64_t>(axis->values.size());
    if (combinations > kMostVariants) {
      return FieldError(field, absl::StrCat("the values make ", combinations,
                                            " combinations with those of the sweeps "
                                            "before it; there may be ",
                                            kMostVariants));
    }
    size_t longest_value = 0;
    for (const std::string& value : axis->values) longest_value = std::max(longest_value, value.size());
    longest += axis->column.size() + 1 + longest_value + (i > 0 ? 1 : 0);
    if (longest > kLongestName) {
      return FieldError(
          field, absl::StrCat("its column and values make names of files of ", longest, " characters; there may be ",
                              kLongestName, ". Cases give values a shorter name"));
    }
    axes.push_back(*std::move(axis));
  }
  return axes;
}

// By an `except` and axis: the indices of the values that it is about; an axis that it does not name is not there.
using Exception = std::vector<std::pair<size_t, std::set<int>>>;

absl::StatusOr<Exception> ReadException(const ExceptConfig& config, const std::vector<SweepAxis>& axes) {
  if (config.when().empty()) return absl::InvalidArgumentError("is empty; it should say when: { column values }");
  std::vector<std::string> columns;
  for (const SweepAxis& axis : axes) columns.push_back(axis.column);
  Exception exception;
  for (int i = 0; i < config.when_size(); ++i) {
    const SweepValues& when = config.when(i);
    const std::string field = absl::StrCat("when[", i, "]");
    const auto column = std::find(columns.begin(), columns.end(), when.column());
    if (column == columns.end()) {
      return FieldError(absl::StrCat(field, ".column"), UnknownNameMessage("sweep", when.column(), columns));
    }
    const size_t axis = static_cast<size_t>(column - columns.begin());
    if (std::any_of(exception.begin(), exception.end(), [&](const auto& other) { return other.first == axis; })) {
      return FieldError(
          absl::StrCat(field, ".column"),
          absl::StrCat("\"", when.column(), "\" stands in an earlier `when` of it; list its values there"));
    }
    if (when.values().empty()) return FieldError(field, "has no values");
    std::set<int> values;
    for (int j = 0; j < when.values_size(); ++j) {
      const std::vector<std::string>& known = axes[axis].values;
      const auto value = std::find(known.begin(), known.end(), when.values(j));
      if (value == known.end()) {
        return FieldError(absl::StrCat(field, ".values[", j, "]"),
                          UnknownNameMessage(absl::StrCat("value of ", when.column()), when.values(j), known));
      }
      values.insert(static_cast<int>(value - known.begin()));
    }
    exception.emplace_back(axis, std::move(values));
  }
  return exception;
}

// Whether the values chosen so far, of the first axes, are all that it takes.
bool Matches(const Exception& exception, const std::vector<int>& choice) {
  return std::all_of(exception.begin(), exception.end(), [&](const auto& when) {
    return when.first < choice.size() && when.second.count(choice[when.first]) > 0;
  });
}

// Goes through all combinations like an odometer, from the first axis on, so that a value is set once for all that
// follow it.
class Expander {
 public:
  Expander(const PipelineConfig& proto, std::vector<Exception> exceptions, Sweep* sweep)
      : proto_(proto), exceptions_(std::move(exceptions)), matched_(exceptions_.size()), sweep_(sweep) {}

  absl::Status Expand(const Config& config, std::vector<int>& choice) {
    const int axis = static_cast<int>(choice.size());
    if (axis == proto_.sweep_size()) {
      sweep_->variants.push_back({choice, config});
      return absl::OkStatus();
    }
    const SweepConfig& sweep = proto_.sweep(axis);
    for (int value = 0; value < ValueCount(sweep); ++value) {
      choice.push_back(value);
      if (!IsLeftOut(choice)) {
        Config changed = config;
        LOWBIT_RETURN_IF_ERROR(Apply(sweep, axis, value, &changed));
        LOWBIT_RETURN_IF_ERROR(Expand(changed, choice));
      }
      choice.pop_back();
    }
    return absl::OkStatus();
  }

  // An exception that says nothing new is a mistake.
  absl::Status CheckExceptions() const {
    for (size_t i = 0; i < matched_.size(); ++i) {
      if (!matched_[i]) {
        return FieldError(absl::StrCat("except[", i, "]"), "leaves out nothing that another one does not");
      }
    }
    if (sweep_->variants.empty()) return FieldError("except[0]", "no combination is left");
    return absl::OkStatus();
  }

 private:
  // Settings are not made for what is left out: it may be left out because they cannot be.
  bool IsLeftOut(const std::vector<int>& choice) {
    for (size_t i = 0; i < exceptions_.size(); ++i) {
      if (!Matches(exceptions_[i], choice)) continue;
      matched_[i] = true;
      int variants = 1;
      for (int axis = static_cast<int>(choice.size()); axis < proto_.sweep_size(); ++axis) {
        variants *= ValueCount(proto_.sweep(axis));
      }
      sweep_->left_out += variants;
      return true;
    }
    return false;
  }

  static absl::Status Apply(const SweepConfig& sweep, int sweep_index, int value, Config* config) {
    for (const Setting& setting : SettingsOf(sweep, sweep_index, value)) {
      const std::string origin =
          absl::StrCat(config->Origin(setting.origin), ": ", sweep.column(), "=", ValueName(sweep, value));
      for (const std::string& field : *setting.fields) {
        LOWBIT_RETURN_IF_ERROR(config->Set(field, setting.value, origin));
      }
    }
    return absl::OkStatus();
  }

  const PipelineConfig& proto_;
  const std::vector<Exception> exceptions_;
  std::vector<bool> matched_;
  Sweep* sweep_;
};

absl::StatusOr<std::vector<Exception>> ReadExceptions(const PipelineConfig& config,
                                                      const std::vector<SweepAxis>& axes) {
  std::vector<Exception> exceptions;
  for (int i = 0; i < config.except_size(); ++i) {
    auto exception = ReadException(config.except(i), axes);
    if (!exception.ok()) return PrependField(exception.status(), absl::StrCat("except[", i, "]"));
    exceptions.push_back(*std::move(exception));
  }
  return exceptions;
}

}  // namespace

absl::StatusOr<Sweep> ExpandSweep(const Config& config) {
  Sweep sweep;
  auto axes = MakeAxes(config.proto());
  if (!axes.ok()) return config.Locate(axes.status());
  sweep.axes = *std::move(axes);
  auto exceptions = ReadExceptions(config.proto(), sweep.axes);
  if (!exceptions.ok()) return config.Locate(exceptions.status());
  Expander expander(config.proto(), *std::move(exceptions), &sweep);
  std::vector<int> choice;
  LOWBIT_RETURN_IF_ERROR(expander.Expand(config, choice));
  LOWBIT_RETURN_IF_ERROR(config.Locate(expander.CheckExceptions()));
  return sweep;
}

void ForEachSweptField(const PipelineConfig& config, const std::function<void(const std::string& path)>& on_field) {
  for (const SweepConfig& sweep : config.sweep()) {
    for (const std::string& field : sweep.fields()) on_field(field);
    for (const SweepCase& one : sweep.cases()) {
      for (const FieldSetting& set : one.set()) {
        for (const std::string& field : set.fields()) on_field(field);
      }
    }
  }
}

VariantLabel LabelOf(const std::vector<SweepAxis>& axes, const std::vector<int>& choice,
                     const std::vector<bool>& decided) {
  VariantLabel label;
  std::vector<std::string> texts, files;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!decided[i]) continue;
    const std::string& value = axes[i].values[static_cast<size_t>(choice[i])];
    texts.push_back(axes.size() == 1 ? value : absl::StrCat(axes[i].column, "=", value));
    files.push_back(SafeFileName(absl::StrCat(axes[i].column, "=", value)));
  }
  return {absl::StrJoin(texts, ","), absl::StrJoin(files, ",")};
}

}  // namespace lowbit
