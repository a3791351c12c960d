#include "pipeline/run.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "model/torch_boundary.h"
#include "pipeline/effective_config.h"
#include "pipeline/paths.h"
#include "pipeline/sweep.h"
#include "tensorboard/event_writer.h"

namespace lowbit {
namespace {

absl::StatusOr<std::string> MakeFolder(const RunPlan& plan) {
  if (!plan.resume_folder.empty()) return plan.resume_folder;
  const std::string time = absl::FormatTime("%Y%m%d-%H%M%S", absl::Now(), absl::LocalTimeZone());
  return CreateUniqueDir(JoinPath(UserPath(plan.config.output_dir()), absl::StrCat(plan.config.name(), "-", time)));
}

class Runner {
 public:
  Runner(const RunPlan& plan, RunResult* result) : plan_(plan), folder_(result->folder), report_(result->report) {
    report_.config = plan.config.name();
    if (plan.config.has_sweep()) report_.column = plan.config.sweep().column();
  }

  absl::Status RunAll() {
    const PlannedVariant& first = plan_.variants.front();
    RunState shared = Start(first);
    StatsRequests requests;
    for (const PlannedVariant& variant : plan_.variants) {
      for (const auto& [layer, request] : variant.requests) requests[layer].Merge(request);
    }
    const std::string events_folder = JoinPath(folder_, "tensorboard");
    EventWriter shared_events(events_folder);
    RunContext context{first.seed,   plan_.data.get(),
                       requests,     folder_,
                       "",           !plan_.resume_folder.empty(),
                       &report_,     plan_.config.tensorboard() ? &shared_events : nullptr,
                       &first.config};
    LOWBIT_RETURN_IF_ERROR(RunSteps(first, 0, plan_.shared_steps, context, shared));
    for (const PlannedVariant& variant : plan_.variants) {
      RunState state = plan_.shared_steps > 0 ? shared : Start(variant);
      context.seed = variant.seed;
      context.requests = variant.requests;
      context.config = &variant.config;
      context.variant = variant.value;
      if (!variant.value.empty()) context.folder = JoinPath(folder_, FileName(variant.value));
      // TensorBoard takes each folder for a run of its own.
      EventWriter own_events(JoinPath(events_folder, variant.value.empty() ? "" : FileName(variant.value)));
      if (context.events != nullptr && !variant.value.empty()) context.events = &own_events;
      LOWBIT_RETURN_IF_ERROR(
          RunSteps(variant, plan_.shared_steps, static_cast<int>(variant.steps.size()), context, state));
    }
    return absl::OkStatus();
  }

 private:
  static RunState Start(const PlannedVariant& variant) {
    return {variant.start.model, nullptr, nullptr, variant.start.quantized, variant.start.torch_int8, {}, nullptr};
  }

  std::string FileName(const std::string& variant) const {
    return VariantFileName(plan_.config.sweep().column(), variant);
  }

  absl::Status RunSteps(const PlannedVariant& variant, int begin, int end, const RunContext& context, RunState& state) {
    for (int i = begin; i < end; ++i) {
      LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
      const Step& step = *variant.steps[static_cast<size_t>(i)];
      LogLine(absl::StrCat("[", i + 1, "/", variant.steps.size(), "] ", step.name(),
                           context.variant.empty() ? "" : absl::StrCat(", ", report_.column, " = ", context.variant)));
      report_.steps.push_back({{"step", step.name()}, {"variant", context.variant}});
      const absl::Time begun = absl::Now();
      const absl::Status status = CatchTorch([&] { return step.Run(context, state); });
      // As soon as there is one, whatever else the step could not do.
      if (Makes(step, Fact::kQuantized) && state.quantized != nullptr) {
        LOWBIT_RETURN_IF_ERROR(Save(context.variant, *state.quantized));
      }
      if (!status.ok()) {
        if (absl::IsCancelled(status)) return status;
        return variant.source.Locate(PrependField(status, absl::StrCat("steps[", i, "].", step.name())));
      }
      report_.steps.back()["seconds"] = absl::ToDoubleSeconds(absl::Now() - begun);
    }
    return absl::OkStatus();
  }

  absl::Status Save(const std::string& variant, const QuantizedModel& model) {
    const std::string file =
        variant.empty() ? "model.safetensors" : absl::StrCat("model_", FileName(variant), ".safetensors");
    const std::string path = JoinPath(folder_, file);
    LOWBIT_RETURN_IF_ERROR(SaveQuantizedModel(path, model));
    std::error_code error;
    report_.models.push_back({{"file", file},
                              {"variant", variant},
                              {"weight_bytes", WeightBytes(model)},
                              {"file_bytes", std::filesystem::file_size(path, error)}});
    return absl::OkStatus();
  }

  const RunPlan& plan_;
  const std::string& folder_;
  Report& report_;
};

absl::Status WriteReport(const std::string& folder, const Report& report) {
  LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(JoinPath(folder, "report.json"), ReportJson(report)));
  return WriteFileAtomic(JoinPath(folder, "report.md"), ReportMarkdown(report));
}

}  // namespace

absl::Status ExecuteRun(const RunPlan& plan, RunResult* result) {
  LOWBIT_ASSIGN_OR_RETURN(const std::string folder, MakeFolder(plan));
  // A run that is still going on must not be resumed beside itself.
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<FolderLock> lock, FolderLock::Acquire(folder));
  result->folder = folder;
  const bool resumed = !plan.resume_folder.empty();
  if (resumed) LOWBIT_RETURN_IF_ERROR(RemoveStaleTemporaries(folder));
  LogLine(absl::StrCat(resumed ? "run, resumed: " : "run: ", folder));
  LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(JoinPath(folder, "config.textproto"), ConfigText(plan.config)));
  const absl::Status status = Runner(plan, result).RunAll();
  if (!status.ok()) {
    result->report.status = absl::IsCancelled(status) ? "interrupted" : absl::StrCat("failed: ", status.message());
  }
  // What an earlier, finished go has reported is worth more than that this one was stopped.
  std::error_code error;
  if (!status.ok() && resumed && std::filesystem::exists(JoinPath(folder, "report.json"), error)) return status;
  const absl::Status written = WriteReport(folder, result->report);
  return status.ok() ? written : status;
}

}  // namespace lowbit
