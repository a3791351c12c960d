#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "model/executor.h"
#include "pipeline/calibration_images.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

// Counting numbers into bins takes longer than all other statistics, so the pictures for TensorBoard come from few
// images.
constexpr int64_t kSampleImages = 32;

// Shows the tensors that somebody asked about to their statistics.
class Observer : public LayerHook {
 public:
  // With `sample`: makes histograms of the first images too.
  Observer(const Graph& graph, const StatsRequests& requests, bool sample) : graph_(graph) {
    StatsRequest histogram;
    histogram.histogram = true;
    for (const auto& [layer, request] : requests) {
      if (!request.output.empty()) {
        statistics_.emplace(layer, TensorStatistics(request.output));
        if (sample) sample_.emplace(layer, TensorStatistics(histogram));
      }
      if (request.input.moments) inputs_.emplace(layer, InputStatistics(graph.layer(graph.Find(layer)).op));
    }
  }

  at::Tensor OnInput(int layer, int /*input_index*/, at::Tensor x) override {
    const std::string& name = graph_.layer(layer).name;
    const auto input = inputs_.find(name);
    if (input != inputs_.end() && error_.ok()) {
      const absl::Status status = input->second.Observe(x);
      if (!status.ok()) error_ = absl::Status(status.code(), absl::StrCat("input of ", name, ": ", status.message()));
    }
    return x;
  }

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    const std::string& name = graph_.layer(layer).name;
    const auto statistics = statistics_.find(name);
    if (statistics != statistics_.end() && error_.ok()) {
      absl::Status status = statistics->second.Observe(y);
      const auto sample = sample_.find(name);
      if (status.ok() && sample != sample_.end() && sample->second.images() < kSampleImages) {
        status = sample->second.Observe(y.narrow(0, 0, std::min(y.size(0), kSampleImages - sample->second.images())));
      }
      if (!status.ok()) error_ = absl::Status(status.code(), absl::StrCat("output of ", name, ": ", status.message()));
    }
    return y;
  }

  const absl::Status& error() const { return error_; }
  NetworkStatistics TakeStatistics() { return std::move(statistics_); }
  NetworkStatistics TakeSample() { return std::move(sample_); }
  NetworkInputs TakeInputs() { return std::move(inputs_); }

 private:
  const Graph& graph_;
  NetworkStatistics statistics_;
  NetworkStatistics sample_;
  NetworkInputs inputs_;
  absl::Status error_;
};

class CalibrateStepImpl : public Step {
 public:
  explicit CalibrateStepImpl(const CalibrateStep& config) : config_(config) {}

  std::string name() const override { return "calibrate"; }
  std::vector<Fact> needs() const override { return {Fact::kWeights}; }
  std::vector<Fact> makes() const override { return {Fact::kStatistics}; }
  std::vector<Fact> refuses() const override { return {Fact::kStatistics, Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_RETURN_IF_ERROR(PlanTrainingImages("num_images", config_.num_images(), plan));
    plan.calibration_images = config_.num_images();
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(state.model.graph, state.model.parameters));
    LOWBIT_ASSIGN_OR_RETURN(CalibrationImages images,
                            DrawCalibrationImages(config_.num_images(), config_.batch_size(), context));
    Observer observer(state.model.graph, context.requests, /*sample=*/context.events != nullptr);
    Progress progress("calibrate", config_.num_images());
    const auto observe = [&](const at::Tensor& batch) {
      LOWBIT_RETURN_IF_ERROR(executor.Forward(batch, &observer).status());
      progress.Advance(batch.size(0));
      return observer.error();
    };
    LOWBIT_RETURN_IF_ERROR(LoadCalibrationImages(images, config_.num_images(), context.data, observe));
    progress.Finish();
    auto& record = context.report->steps.back();
    record["images"] = config_.num_images();
    state.statistics = std::make_shared<NetworkStatistics>(observer.TakeStatistics());
    state.sample = std::make_shared<NetworkStatistics>(observer.TakeSample());
    state.inputs = std::make_shared<NetworkInputs>(observer.TakeInputs());
    NoteSeen(images.indices, state);
    state.calibration = std::make_shared<CalibrationImages>(std::move(images));
    record["tensors"] = state.statistics->size();
    record["inputs"] = state.inputs->size();
    return absl::OkStatus();
  }

 private:
  const CalibrateStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeCalibrateStep(const CalibrateStep& config) {
  if (config.num_images() < 1) {
    return FieldError("num_images", absl::StrCat("must be at least 1, got ", config.num_images()));
  }
  if (config.batch_size() < 1) {
    return FieldError("batch_size", absl::StrCat("must be at least 1, got ", config.batch_size()));
  }
  return std::make_unique<CalibrateStepImpl>(config);
}

}  // namespace lowbit
