#include "pipeline/run_plan.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "pipeline/create_step.h"
#include "pipeline/effective_config.h"
#include "pipeline/paths.h"
#include "pipeline/step_order.h"
#include "pipeline/sweep.h"
#include "pipeline/table.h"
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

absl::StatusOr<std::vector<std::unique_ptr<Step>>> MakeSteps(const PipelineConfig& config) {
  std::vector<std::unique_ptr<Step>> steps;
  for (const StepConfig& step_config : config.steps()) {
    auto step = CreateStep(step_config);
    if (!step.ok()) return PrependField(step.status(), absl::StrCat("steps[", steps.size(), "]"));
    steps.push_back(*std::move(step));
  }
  return steps;
}

std::string StepField(const std::vector<std::unique_ptr<Step>>& steps, size_t index) {
  return absl::StrCat("steps[", index, "].", steps[index]->name());
}

// An error names the field at fault, which may lie outside of the step ("model", "dataset.data_dir").
absl::Status PlanStep(const Step& step, const std::string& field, PlanState& state) {
  const absl::Status status = step.Plan(state);
  const std::string at = ErrorField(status).value_or("");
  if (status.ok() || at == "model" || at == "dataset.data_dir") return status;
  return PrependField(status, field);
}

// `shared_steps` and `resume_folder` as in RunPlan.
absl::StatusOr<PlannedVariant> PlanVariant(const SweepVariant& variant, const PipelineConfig& config, int shared_steps,
                                           const std::string& resume_folder, DataSource* data) {
  auto steps = MakeSteps(config);
  if (!steps.ok()) return steps.status();
  auto start = LoadModel(config.model(), config.seed());
  if (!start.ok()) return PrependField(start.status(), "model");
  std::vector<Fact> facts;
  if (start->has_weights) facts.push_back(Fact::kWeights);
  if (start->quantized != nullptr) facts.push_back(Fact::kQuantized);
  if (start->torch_int8 != nullptr) facts.push_back(Fact::kTorchInt8);
  LOWBIT_RETURN_IF_ERROR(CheckStepOrder(*steps, facts));

  PlanState state{data, start->model, {}, {}, config.seed(), resume_folder, nullptr};
  for (size_t i = 0; i < steps->size(); ++i) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    if (static_cast<int>(i) == shared_steps && !variant.value.empty() && !resume_folder.empty()) {
      state.resume_folder = JoinPath(resume_folder, VariantFileName(config.sweep().column(), variant.value));
    }
    LOWBIT_RETURN_IF_ERROR(PlanStep(*(*steps)[i], StepField(*steps, i), state));
  }
  return PlannedVariant{variant.value,
                        variant.config,
                        config,
                        *std::move(start),
                        config.seed(),
                        *std::move(steps),
                        std::move(state.requests),
                        std::move(state.quantization)};
}

// A calibrate step whose statistics nobody reads is a mistake in the config.
absl::Status CheckStatisticsAreRead(const RunPlan& plan) {
  if (std::any_of(plan.variants.begin(), plan.variants.end(), [](const auto& v) { return !v.requests.empty(); })) {
    return absl::OkStatus();
  }
  const PlannedVariant& variant = plan.variants.front();
  for (size_t i = 0; i < variant.steps.size(); ++i) {
    if (!Makes(*variant.steps[i], Fact::kStatistics)) continue;
    return variant.source.Locate(
        FieldError(StepField(variant.steps, i), "no later step wants to know anything about activations; take it out"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FindResumeFolder(const PipelineConfig& config) {
  const auto& steps = config.steps();
  if (std::none_of(steps.begin(), steps.end(), [](const StepConfig& step) { return step.has_train(); })) {
    return absl::InvalidArgumentError(absl::StrCat("--resume: ", config.name(), " has no train step"));
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
  const auto& swept = effective.sweep().fields();
  if (std::any_of(swept.begin(), swept.end(),
                  [](const std::string& field) { return absl::StartsWith(field, "model."); })) {
    return config;
  }
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

}  // namespace

absl::StatusOr<RunPlan> PlanRun(const Config& given, const PlanOptions& options) {
  LOWBIT_ASSIGN_OR_RETURN(const Config config, Complete(given));
  RunPlan plan;
  plan.config = EffectiveConfig(config.proto());
  SetThreads(plan.config.threads());
  auto data = MakeData(plan.config, options);
  if (!data.ok()) return config.Locate(data.status());
  plan.data = *std::move(data);
  if (options.resume) {
    LOWBIT_ASSIGN_OR_RETURN(plan.resume_folder, FindResumeFolder(plan.config));
  }

  LOWBIT_ASSIGN_OR_RETURN(Sweep sweep, ExpandSweep(config));
  plan.shared_steps = sweep.shared_steps;
  for (const SweepVariant& variant : sweep.variants) {
    auto planned = PlanVariant(variant, EffectiveConfig(variant.config.proto()), plan.shared_steps, plan.resume_folder,
                               plan.data.get());
    if (!planned.ok()) return variant.config.Locate(planned.status());
    plan.variants.push_back(*std::move(planned));
  }
  LOWBIT_RETURN_IF_ERROR(CheckStatisticsAreRead(plan));
  return plan;
}

std::string PlanText(const RunPlan& plan) {
  const ModelConfig& model = plan.config.model();
  const PlannedVariant& first = plan.variants.front();
  std::string text = absl::StrCat("config  ", plan.config.name(), "\n");
  std::string file = model.weights();
  if (!model.quantized_model().empty()) file = model.quantized_model();
  if (!model.torch_int8_model().empty()) file = model.torch_int8_model();
  absl::StrAppend(&text, "model   ", file.empty() ? "untrained" : file, ", ", first.start.model.graph.size(),
                  " layers, ", ParameterCount(first.start.model.graph), " parameters\n");
  std::vector<std::string> names;
  for (const auto& step : first.steps) names.push_back(step->name());
  absl::StrAppend(&text, "steps   ", absl::StrJoin(names, ", "), "\n");
  if (plan.config.has_sweep()) {
    absl::StrAppend(&text, "sweep   ", plan.config.sweep().column(), " = ",
                    absl::StrJoin(plan.config.sweep().values(), ", "), "; the first ", plan.shared_steps,
                    plan.shared_steps == 1 ? " step is" : " steps are", " done once for all\n");
  }
  for (const PlannedVariant& variant : plan.variants) {
    if (variant.quantization.empty()) continue;
    TableRows rows = {{"layer", "weights", "activations", "from"}};
    for (const PlannedTensor& tensor : variant.quantization) {
      rows.push_back({tensor.layer, tensor.weight, tensor.activation, tensor.read_tensor});
    }
    absl::StrAppend(&text, "\n");
    if (!variant.value.empty()) absl::StrAppend(&text, plan.config.sweep().column(), " = ", variant.value, "\n");
    absl::StrAppend(&text, AlignedTable(rows));
  }
  return text;
}

}  // namespace lowbit
