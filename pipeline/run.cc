#include "pipeline/run.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/user_path.h"
#include "data/image_metadata.h"
#include "model/torch_boundary.h"
#include "pipeline/effective_config.h"
#include "pipeline/paths.h"
#include "pipeline/pivot_table.h"
#include "pipeline/sweep.h"
#include "tensorboard/event_writer.h"

namespace lowbit {
namespace {

constexpr char kEventsFolder[] = "tensorboard";

absl::StatusOr<std::string> MakeFolder(const RunPlan& plan) {
  if (!plan.resume_folder.empty()) return plan.resume_folder;
  const std::string time = absl::FormatTime("%Y%m%d-%H%M%S", absl::Now(), absl::LocalTimeZone());
  return CreateUniqueDir(JoinPath(UserPath(plan.config.output_dir()), absl::StrCat(plan.config.name(), "-", time)));
}

class Runner {
 public:
  Runner(const RunPlan& plan, RunResult* result)
      : plan_(plan),
        folder_(result->folder),
        report_(result->report),
        done_(plan.steps.size()),
        scores_(plan.variants.size()),
        begun_(absl::Now()) {
    report_.config = plan.config.name();
    if (!plan.axes.empty()) report_.column = plan.axes.size() == 1 ? plan.axes[0].column : "variant";
    for (size_t i = 0; i < scores_.size(); ++i) scores_[i].choice = plan.variants[i].choice;
  }

  // Whatever comes of it, the report has all that was done.
  absl::Status RunAll() {
    const absl::Status status = RunStarts();
    if (plan_.table.has_value()) FillTable();
    return status;
  }

 private:
  // What is to be known of a step that was done.
  struct Done {
    double work_seconds = 0;  // its own and those of the steps before it
    int row = -1;             // of the last evaluation so far, in the report; -1: there was none
    bool evaluated = false;   // by this step itself
    bool quantized = false;   // by this step itself, or what was quantized changed
  };

  // What the steps of one label write their events to: each folder is a run of TensorBoard's.
  struct Events {
    std::string file;  // of the label
    std::unique_ptr<EventWriter> writer;
  };

  absl::Status RunStarts() {
    for (const PlannedStart& start : plan_.starts) {
      const RunState state{start.model.model, nullptr, nullptr, start.model.quantized, start.model.torch_int8};
      const Events events{"", std::make_unique<EventWriter>(JoinPath(folder_, kEventsFolder))};
      LOWBIT_RETURN_IF_ERROR(RunSteps(start.next, state, Done(), events));
    }
    return absl::OkStatus();
  }

  // Does `steps`, each from `state`, and what goes on from them.
  absl::Status RunSteps(const std::vector<int>& steps, const RunState& state, const Done& before,
                        const Events& events) {
    for (const int number : steps) {
      const PlannedStep& planned = plan_.steps[static_cast<size_t>(number)];
      RunState after = state;
      Events own;
      const bool shares_events = planned.label.file == events.file;
      if (!shares_events) {
        own.file = planned.label.file;
        own.writer = std::make_unique<EventWriter>(JoinPath(JoinPath(folder_, kEventsFolder), own.file));
      }
      const Events& used = shares_events ? events : own;
      done_[static_cast<size_t>(number)] = before;
      LOWBIT_RETURN_IF_ERROR(RunStep(planned, used.writer.get(), after, &done_[static_cast<size_t>(number)]));
      for (const int variant : planned.ending) LOWBIT_RETURN_IF_ERROR(Finish(variant, after));
      LOWBIT_RETURN_IF_ERROR(RunSteps(planned.next, after, done_[static_cast<size_t>(number)], used));
    }
    return absl::OkStatus();
  }

  absl::Status RunStep(const PlannedStep& planned, EventWriter* events, RunState& state, Done* done) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    const Step& step = *planned.step;
    const PlannedVariant& variant = plan_.variants[static_cast<size_t>(planned.variant)];
    const std::string& label = planned.label.text;
    LogLine(absl::StrCat("[", planned.index + 1, "/", plan_.config.steps_size(), "] ", step.name(),
                         label.empty() ? "" : absl::StrCat(", ", Spoken(label))));
    report_.steps.push_back({{"step", step.name()}, {"variant", label}});
    const RunContext context{variant.seed,
                             plan_.data.get(),
                             planned.requests,
                             planned.label.file.empty() ? folder_ : JoinPath(folder_, planned.label.file),
                             label,
                             !plan_.resume_folder.empty(),
                             &report_,
                             plan_.config.tensorboard() ? events : nullptr,
                             &variant.config};
    const size_t rows = report_.rows.size();
    const std::shared_ptr<const QuantizedModel> quantized = state.quantized;
    const absl::Time begun = absl::Now();
    const absl::Status status = CatchTorch([&] { return step.Run(context, state); });
    // As soon as there is one, whatever else the step could not do.
    done->quantized = state.quantized != quantized;
    if (done->quantized) LOWBIT_RETURN_IF_ERROR(Save(planned.label, state.quantized));
    if (!status.ok()) {
      if (absl::IsCancelled(status)) return status;
      return variant.source.Locate(PrependField(status, absl::StrCat("steps[", planned.index, "].", step.name())));
    }
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begun);
    report_.steps.back()["seconds"] = seconds;
    if (step.is_quantization_work()) done->work_seconds += seconds;
    done->evaluated = report_.rows.size() > rows;
    if (done->evaluated) done->row = static_cast<int>(report_.rows.size()) - 1;
    return absl::OkStatus();
  }

  // What a variant shares with others is in the report under its own name too.
  absl::Status Finish(int number, const RunState& state) {
    const PlannedVariant& variant = plan_.variants[static_cast<size_t>(number)];
    std::optional<VariantLabel> quantized;
    for (size_t i = 0; i < variant.path.size(); ++i) {
      const PlannedStep& planned = plan_.steps[static_cast<size_t>(variant.path[i])];
      const Done& done = done_[static_cast<size_t>(variant.path[i])];
      const VariantLabel label = LabelAt(plan_, variant, i);
      if (done.quantized) quantized = label;
      if (!done.evaluated || label.text == planned.label.text) continue;
      if (!repeated_.emplace(variant.path[i], label.text).second) continue;  // another variant of this label said so
      EvaluationRow row = report_.rows[static_cast<size_t>(done.row)];
      row.same_as = std::exchange(row.variant, label.text);
      report_.rows.push_back(std::move(row));
    }
    if (quantized.has_value()) LOWBIT_RETURN_IF_ERROR(Save(*quantized, state.quantized));

    const Done& last = done_[static_cast<size_t>(variant.path.back())];
    VariantScore& score = scores_[static_cast<size_t>(number)];
    score.work_seconds = last.work_seconds;
    score.done = last.row >= 0;
    if (score.done) score.top1 = report_.rows[static_cast<size_t>(last.row)].result.metrics.top1;
    ++finished_;
    const int left = static_cast<int>(plan_.variants.size()) - finished_;
    if (left > 0) {
      const double seconds = absl::ToDoubleSeconds(absl::Now() - begun_);
      LogLine(absl::StrCat("variant ", finished_, " of ", plan_.variants.size(), " done, ", Spoken(variant.label.text),
                           "; about ", FormatDuration(seconds / finished_ * left), " to go"));
    }
    return absl::OkStatus();
  }

  void FillTable() {
    PivotTable& table = report_.table = MakePivotTable(*plan_.table, plan_.axes, scores_);
    for (const EvaluationRow& row : report_.rows) {
      if (row.variant.empty()) table.baselines.emplace_back(row.label(), row.result.metrics.top1);
      const int64_t images = row.result.metrics.images;
      table.images = table.images == 0 || table.images == images ? images : -1;
    }
    table.images = std::max<int64_t>(table.images, 0);
  }

  // "bits = 4".
  std::string Spoken(const std::string& label) const {
    return plan_.axes.size() == 1 ? absl::StrCat(plan_.axes[0].column, " = ", label) : label;
  }

  // Under one name there is one file, which holds what was saved last; the same model is not written again.
  absl::Status Save(const VariantLabel& label, const std::shared_ptr<const QuantizedModel>& model) {
    if (!plan_.config.save_models()) return absl::OkStatus();
    const std::string file =
        label.file.empty() ? "model.safetensors" : absl::StrCat("model_", label.file, ".safetensors");
    const auto known = saved_.find(file);
    if (known != saved_.end() && known->second.model.lock() == model) return absl::OkStatus();
    const std::string path = JoinPath(folder_, file);
    // The network alone does not say which images it is for; whoever runs the file elsewhere needs to know.
    QuantizedModel described = *model;
    StoreImageMetadata(plan_.data->normalization(), plan_.data->class_names(), &described.metadata);
    LOWBIT_RETURN_IF_ERROR(SaveQuantizedModel(path, described));
    std::error_code error;
    Saved& saved = saved_.emplace(file, Saved{{}, report_.models.size()}).first->second;
    saved.model = model;
    report_.models.resize(std::max(report_.models.size(), saved.entry + 1));
    report_.models[saved.entry] = {{"file", file},
                                   {"variant", label.text},
                                   {"weight_bytes", WeightBytes(*model)},
                                   {"file_bytes", std::filesystem::file_size(path, error)}};
    return absl::OkStatus();
  }

  struct Saved {
    std::weak_ptr<const QuantizedModel> model;
    size_t entry;  // in the report's list of models
  };

  const RunPlan& plan_;
  const std::string& folder_;
  Report& report_;
  std::vector<Done> done_;            // of each planned step
  std::vector<VariantScore> scores_;  // of each variant
  std::map<std::string, Saved> saved_;
  std::set<std::pair<int, std::string>> repeated_;  // steps whose row stands in the report under this label too
  const absl::Time begun_;
  int finished_ = 0;  // variants
};

absl::Status WriteReport(const std::string& folder, const Report& report) {
  LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(JoinPath(folder, "report.json"), ReportJson(report)));
  if (!report.table.pages.empty()) {
    LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(JoinPath(folder, "table.md"), PivotMarkdown(report.table)));
  }
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
