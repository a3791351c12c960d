#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/field_error.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "corrections/reestimate_batch_norm.h"
#include "pipeline/calibration_images.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

class ReestimateBatchNormStepImpl : public Step {
 public:
  explicit ReestimateBatchNormStepImpl(const ReestimateBatchNormStep& config) : config_(config) {}

  std::string name() const override { return "reestimate_batch_norm"; }
  std::vector<Fact> needs() const override { return {Fact::kQuantized}; }
  std::vector<Fact> makes() const override { return {Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    const auto& layers = plan.model.graph.layers();
    if (std::none_of(layers.begin(), layers.end(),
                     [](const Layer& layer) { return std::holds_alternative<BatchNorm>(layer.op); })) {
      return absl::InvalidArgumentError(
          "there is no batch norm left; for a folded network bias_correction { match: MEAN_AND_STD } does the same");
    }
    return PlanTrainingImages("num_images", config_.num_images(), plan);
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor images, LoadCalibrationImages(config_.num_images(), context));
    LOWBIT_ASSIGN_OR_RETURN(ReestimatedModel result, ReestimateBatchNorms(*state.quantized, images));
    auto& record = context.report->steps.back();
    record["images"] = config_.num_images();
    double shift = 0, min_ratio = 1, max_ratio = 1;
    for (const ReestimatedNorm& norm : result.norms) {
      shift = std::max(shift, norm.max_shift);
      min_ratio = std::min(min_ratio, norm.min_ratio);
      max_ratio = std::max(max_ratio, norm.max_ratio);
      record["layers"].push_back({{"layer", norm.layer},
                                  {"max_shift", norm.max_shift},
                                  {"min_ratio", norm.min_ratio},
                                  {"max_ratio", norm.max_ratio}});
    }
    LogLine(absl::StrFormat(
        "reestimate_batch_norm: %d batch norms, means moved by at most %.3g standard deviations, these by factors of "
        "%.3g to %.3g",
        result.norms.size(), shift, min_ratio, max_ratio));
    state.quantized = std::make_shared<QuantizedModel>(std::move(result.model));
    return absl::OkStatus();
  }

 private:
  const ReestimateBatchNormStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeReestimateBatchNormStep(const ReestimateBatchNormStep& config) {
  if (config.num_images() < 1) {
    return FieldError("num_images", absl::StrCat("must be at least 1, got ", config.num_images()));
  }
  return std::make_unique<ReestimateBatchNormStepImpl>(config);
}

}  // namespace lowbit
