#include "pipeline/run_plan.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/user_path.h"
#include "pipeline/effective_config.h"
#include "pipeline/paths.h"
#include "pipeline/step_tree.h"
#include "pipeline/sweep.h"
#include "pipeline/threads.h"

namespace lowbit {
namespace {

constexpr int kMostThreads = 1024;

absl::Status CheckName(const std::string& name) {
  constexpr size_t kLongest = 100;
  const bool good = !name.empty() && name.size() <= kLongest && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == '+';
  });
  if (good) return absl::OkStatus();
  return FieldError("name", absl::StrCat("names a folder, so it must be at most ", kLongest,
                                         " letters, digits and _-.+; got \"", absl::CEscape(name), "\""));
}

// Whether a folder can be made there, as far as can be told without making it.
absl::Status CheckOutputDir(const std::string& output_dir) {
  if (output_dir.empty()) return FieldError("output_dir", "is empty");
  std::filesystem::path existing = std::filesystem::absolute(UserPath(output_dir));
  std::error_code error;
  while (!std::filesystem::exists(existing, error) && existing != existing.parent_path()) {
    existing = existing.parent_path();
  }
  if (!std::filesystem::is_directory(existing, error)) {
    return FieldError("output_dir", absl::StrCat("\"", existing.string(), "\" is not a folder"));
  }
  if (access(existing.c_str(), W_OK) != 0) {
    return FieldError("output_dir", absl::StrCat("nothing may be written to \"", existing.string(), "\""));
  }
  return absl::OkStatus();
}

absl::Status CheckGeneral(const PipelineConfig& config) {
  LOWBIT_RETURN_IF_ERROR(CheckName(config.name()));
  if (config.steps().empty()) return FieldError("steps", "there are none");
  if (config.threads() < 0 || config.threads() > kMostThreads) {
    return FieldError("threads", absl::StrCat("must be in [0, ", kMostThreads, "], got ", config.threads()));
  }
  return CheckOutputDir(config.output_dir());
}

absl::StatusOr<std::unique_ptr<DataSource>> MakeData(const PipelineConfig& config, const PlanOptions& options) {
  if (options.open_data != nullptr) return std::make_unique<DataSource>(options.open_data, Normalization());
  auto data = DataSource::FromConfig(config.dataset());
  if (!data.ok()) return PrependField(data.status(), "dataset");
  return data;
}

absl::StatusOr<std::string> FindResumeFolder(const PipelineConfig& config) {
  const auto& steps = config.steps();
  if (std::none_of(steps.begin(), steps.end(), [](const StepConfig& step) {
        return step.has_train() || step.has_reconstruct() || step.has_distill();
      })) {
    return absl::InvalidArgumentError(
        absl::StrCat("--resume: ", config.name(), " has no train, reconstruct or distill step"));
  }
  const std::string folder = NewestCheckpoint(UserPath(config.output_dir()), config.name());
  if (!folder.empty()) return folder;
  return absl::NotFoundError(
      absl::StrCat("--resume: no ", config.output_dir(), "/", config.name(), "-* has a checkpoint to go on from"));
}

// The config with a name, and with the newest model where neither it nor its sweep names one.
absl::StatusOr<Config> Complete(const Config& given) {
  Config config = given;
  if (config.proto().name().empty()) {
    LOWBIT_RETURN_IF_ERROR(
        config.Set("name", absl::StrCat("\"", absl::CEscape(config.base_name()), "\""), "the file's name"));
  }
  const PipelineConfig effective = EffectiveConfig(config.proto());
  LOWBIT_RETURN_IF_ERROR(config.Locate(CheckGeneral(effective)));
  bool sweeps_model = false;
  ForEachSweptField(effective, [&](const std::string& field) {
    sweeps_model = sweeps_model || field == "model" || absl::StartsWith(field, "model.");
  });
  if (sweeps_model) return config;
  const auto newest = FindNewest(effective);
  if (!newest.ok()) return config.Locate(newest.status());
  if (!newest->path.empty()) {
    LogLine(absl::StrCat("model: none is named, so the newest one, ", newest->path));
    LOWBIT_RETURN_IF_ERROR(config.Set(absl::StrCat("model.", newest->field),
                                      absl::StrCat("\"", absl::CEscape(newest->path), "\""), "the newest model"));
    LOWBIT_RETURN_IF_ERROR(config.Set("model.newest", "NONE", "the newest model"));
  }
  return config;
}

// A table whose cells would stay empty is a mistake in the config.
absl::Status CheckEachEvaluates(const RunPlan& plan) {
  for (const PlannedVariant& variant : plan.variants) {
    if (std::none_of(variant.path.begin(), variant.path.end(),
                     [&](int step) { return plan.steps[static_cast<size_t>(step)].step->name() == "evaluate"; })) {
      return FieldError("table", absl::StrCat("there is no evaluate step", variant.label.text.empty() ? "" : " for ",
                                              variant.label.text));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RunPlan> PlanRun(const Config& given, const PlanOptions& options) {
  LOWBIT_ASSIGN_OR_RETURN(const Config config, Complete(given));
  RunPlan plan;
  plan.config = RecordedConfig(config.proto());
  SetThreads(plan.config.threads());
  auto data = MakeData(plan.config, options);
  if (!data.ok()) return config.Locate(data.status());
  plan.data = *std::move(data);
  if (options.resume) {
    LOWBIT_ASSIGN_OR_RETURN(plan.resume_folder, FindResumeFolder(plan.config));
  }

  LOWBIT_ASSIGN_OR_RETURN(Sweep sweep, ExpandSweep(config));
  plan.axes = std::move(sweep.axes);
  plan.left_out = sweep.left_out;
  if (plan.config.has_table()) {
    auto table = LayOutTable(plan.config.table(), plan.axes);
    if (!table.ok()) return config.Locate(PrependField(table.status(), "table"));
    plan.table = *std::move(table);
  }
  LOWBIT_RETURN_IF_ERROR(PlantSteps(std::move(sweep.variants), &plan));
  if (plan.table.has_value()) LOWBIT_RETURN_IF_ERROR(config.Locate(CheckEachEvaluates(plan)));
  return plan;
}

VariantLabel LabelAt(const RunPlan& plan, const PlannedVariant& variant, size_t position) {
  const PlannedStep& step = plan.steps[static_cast<size_t>(variant.path[position])];
  // Random parameters are drawn by the seed before the first step.
  const LoadedModel& start = plan.starts[static_cast<size_t>(variant.start)].model;
  bool seed_used = !start.has_weights && start.torch_int8 == nullptr;
  for (size_t i = 0; i <= position; ++i) {
    seed_used = seed_used || plan.steps[static_cast<size_t>(variant.path[i])].step->uses_seed();
  }
  std::vector<bool> decided;
  for (const SweepAxis& axis : plan.axes) {
    decided.push_back(axis.first_step <= step.index || (axis.touches_seed && seed_used));
  }
  return LabelOf(plan.axes, variant.choice, decided);
}

}  // namespace lowbit
