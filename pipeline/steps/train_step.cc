#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "pipeline/paths.h"
#include "pipeline/steps/steps.h"
#include "pipeline/tensor_histogram.h"
#include "train/trainer.h"

namespace lowbit {
namespace {

class TrainStepImpl : public Step {
 public:
  explicit TrainStepImpl(const TrainConfig& config) : config_(config) {}

  std::string name() const override { return "train"; }
  bool is_quantization_work() const override { return false; }
  std::vector<Fact> makes() const override { return {Fact::kWeights, Fact::kTrained}; }
  std::vector<Fact> refuses() const override {
    return {Fact::kTrained, Fact::kFolded, Fact::kStatistics, Fact::kQuantized, Fact::kTorchInt8};
  }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, plan.data->Get(Split::kTrain));
    LOWBIT_RETURN_IF_ERROR(CheckFits(plan.model.graph, *train));
    LOWBIT_RETURN_IF_ERROR(CheckTrainConfig(config_, *train));
    // A sweep's later values may not have begun.
    if (plan.resume_folder.empty() || !HasCheckpoint(plan.resume_folder)) return absl::OkStatus();
    return CheckResume(Request(plan.model, train, *plan.data, plan.seed, plan.resume_folder, /*resume=*/true));
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_RETURN_IF_ERROR(MakeDirs(context.folder));
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, context.data->Get(Split::kTrain));
    TrainRequest request = Request(state.model, train, *context.data, context.seed, context.folder,
                                   context.resume && HasCheckpoint(context.folder));
    if (context.events != nullptr) {
      // What was written after the checkpoint that is gone on from will be written again.
      request.on_epoch = [events = context.events, restart = request.resume](
                             const EpochRecord& record, const ParameterMap& parameters) mutable -> absl::Status {
        if (restart) LOWBIT_RETURN_IF_ERROR(events->Restart(record.epoch));
        restart = false;
        return WriteEpoch(record, parameters, events);
      };
    }
    LOWBIT_ASSIGN_OR_RETURN(TrainResult result, Train(request));
    const EpochRecord& best = result.history[static_cast<size_t>(result.best_epoch - 1)];
    LogLine(absl::StrFormat("train: epoch %d was the best, top-1 %.4f on the images held out; weights in %s",
                            result.best_epoch, best.validation_top1, JoinPath(context.folder, "best.safetensors")));
    auto& record = context.report->steps.back();
    record["epochs"] = result.history.size();
    record["best_epoch"] = result.best_epoch;
    record["validation_top1"] = best.validation_top1;
    state.model.parameters = std::move(result.parameters);
    return absl::OkStatus();
  }

 private:
  static absl::Status WriteEpoch(const EpochRecord& record, const ParameterMap& parameters, EventWriter* events) {
    const std::pair<const char*, double> scalars[] = {
        {"train/loss", record.train_loss},
        {"train/top-1", record.train_top1},
        {"train/learning rate", record.learning_rate},
        {"train/seconds", record.seconds},
        {"held-out/top-1", record.validation_top1},
        {"held-out/top-3", record.validation_top3},
        {"held-out/precision", record.precision},
        {"held-out/recall", record.recall},
        {"held-out/F1", record.f1},
    };
    for (const auto& [tag, value] : scalars) LOWBIT_RETURN_IF_ERROR(events->AddScalar(tag, record.epoch, value));
    for (const auto& [name, tensor] : parameters) {
      LOWBIT_RETURN_IF_ERROR(
          events->AddHistogram(absl::StrCat("parameters/", name), record.epoch, SummarizeTensor(tensor)));
    }
    return absl::OkStatus();
  }

  TrainRequest Request(const Model& model, const Dataset* dataset, const DataSource& data, uint64_t seed,
                       const std::string& folder, bool resume) const {
    TrainRequest request;
    request.graph = &model.graph;
    request.initial = model.parameters;
    request.dataset = dataset;
    request.normalization = data.normalization();
    request.config = config_;
    request.seed = seed;
    request.directory = folder;
    request.resume = resume;
    return request;
  }

  const TrainConfig config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeTrainStep(const TrainConfig& config) {
  return std::make_unique<TrainStepImpl>(config);
}

}  // namespace lowbit
