#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "corrections/bias_correction.h"
#include "corrections/expected_moments.h"
#include "pipeline/calibration_images.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

class BiasCorrectionStepImpl : public Step {
 public:
  explicit BiasCorrectionStepImpl(const BiasCorrectionStep& config) : config_(config) {}

  std::string name() const override { return "bias_correction"; }
  bool uses_seed() const override { return config_.method() == BiasCorrectionStep::EMPIRICAL; }
  std::vector<Fact> needs() const override { return {Fact::kWeights, Fact::kQuantized, Fact::kFloatTwin}; }
  std::vector<Fact> makes() const override { return {Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    if (config_.method() == BiasCorrectionStep::EMPIRICAL) {
      LOWBIT_RETURN_IF_ERROR(PlanTrainingImages("num_images", config_.num_images(), plan));
    }
    std::vector<std::string> obstacles;
    for (const Layer& layer : plan.model.graph.layers()) {
      if (!HasWeight(layer.op)) continue;
      const std::string obstacle = WhyNotCorrected(layer);
      if (obstacle.empty()) return CheckMoments(plan);
      obstacles.push_back(absl::StrCat(layer.name, ": ", obstacle));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("there is no layer that it can correct:\n  ", absl::StrJoin(obstacles, "\n  ")));
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    absl::StatusOr<BiasCorrection> result;
    if (config_.method() == BiasCorrectionStep::ANALYTIC) {
      result = CorrectBiasesAnalytically(state.model, state.moments, *state.quantized);
    } else {
      LOWBIT_ASSIGN_OR_RETURN(const at::Tensor images, LoadCalibrationImages(config_.num_images(), context));
      result = CorrectBiasesEmpirically(
          state.model, *state.quantized, images,
          config_.match() == BiasCorrectionStep::MEAN_AND_STD ? Matched::kMeanAndStd : Matched::kMean);
    }
    if (!result.ok()) return result.status();
    if (result->corrected.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no layer that it can correct:\n  ", absl::StrJoin(result->skipped, "\n  ")));
    }
    Tell(*result, context.report->steps.back());
    state.quantized = std::make_shared<QuantizedModel>(std::move(result->model));
    return absl::OkStatus();
  }

 private:
  // Whether the mean of any layer's input can be told from the batch norms that were folded.
  absl::Status CheckMoments(const PlanState& plan) const {
    if (config_.method() == BiasCorrectionStep::EMPIRICAL) return absl::OkStatus();
    const std::vector<ExpectedOutput> outputs = ExpectedOutputs(plan.model, plan.moments);
    for (const Layer& layer : plan.model.graph.layers()) {
      if (!HasWeight(layer.op) || !WhyNotCorrected(layer).empty()) continue;
      if (outputs[static_cast<size_t>(layer.inputs[0])].mean.has_value()) return absl::OkStatus();
    }
    return FieldError("method",
                      "ANALYTIC needs batch norms, folded in this run or still there, and before none of the layers "
                      "that could be corrected is one; EMPIRICAL needs none");
  }

  void Tell(const BiasCorrection& result, nlohmann::ordered_json& record) const {
    record["method"] = BiasCorrectionStep::Method_Name(config_.method());
    record["match"] = BiasCorrectionStep::Match_Name(config_.match());
    double shift = 0, min_ratio = 1, max_ratio = 1;
    int64_t dead = 0, limited = 0;
    for (const LayerCorrection& layer : result.corrected) {
      shift = std::max(shift, layer.max_shift);
      min_ratio = std::min(min_ratio, layer.min_ratio);
      max_ratio = std::max(max_ratio, layer.max_ratio);
      dead += layer.dead;
      limited += layer.limited;
      nlohmann::ordered_json row = {{"layer", layer.layer}, {"max_shift", layer.max_shift}};
      if (config_.match() == BiasCorrectionStep::MEAN_AND_STD) {
        row["min_ratio"] = layer.min_ratio;
        row["max_ratio"] = layer.max_ratio;
        row["dead"] = layer.dead;
        row["limited"] = layer.limited;
      }
      record["layers"].push_back(std::move(row));
    }
    record["skipped"] = result.skipped;
    std::string line = absl::StrFormat("bias_correction: %d layers corrected, means moved by at most %.3g",
                                       result.corrected.size(), shift);
    if (config_.match() == BiasCorrectionStep::MEAN_AND_STD) {
      absl::StrAppendFormat(&line, ", standard deviations by factors of %.3g to %.3g (%d dead channels, %d held back)",
                            min_ratio, max_ratio, dead, limited);
    }
    if (!result.skipped.empty()) {
      absl::StrAppend(&line, ", not corrected:\n  ", absl::StrJoin(result.skipped, "\n  "));
    }
    LogLine(line);
  }

  const BiasCorrectionStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeBiasCorrectionStep(const BiasCorrectionStep& config) {
  if (config.num_images() < 1) {
    return FieldError("num_images", absl::StrCat("must be at least 1, got ", config.num_images()));
  }
  if (config.method() == BiasCorrectionStep::ANALYTIC && config.match() == BiasCorrectionStep::MEAN_AND_STD) {
    return FieldError("match", "ANALYTIC knows of means only; MEAN_AND_STD is for EMPIRICAL");
  }
  return std::make_unique<BiasCorrectionStepImpl>(config);
}

}  // namespace lowbit
