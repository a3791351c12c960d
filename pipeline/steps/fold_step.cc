#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "model/passes/fold_batch_norm.h"
#include "pipeline/calibration_images.h"
#include "pipeline/logit_difference.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

constexpr uint64_t kPurpose = 0x666f6c64;  // "fold"

class FoldStepImpl : public Step {
 public:
  explicit FoldStepImpl(const FoldStep& config) : config_(config) {}

  std::string name() const override { return "fold"; }
  bool uses_seed() const override { return config_.check_images() > 0; }
  std::vector<Fact> needs() const override { return {Fact::kWeights}; }
  std::vector<Fact> makes() const override { return {Fact::kFolded}; }
  std::vector<Fact> refuses() const override { return {Fact::kFolded, Fact::kStatistics, Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    if (config_.check_images() > 0) {
      LOWBIT_RETURN_IF_ERROR(PlanTrainingImages("check_images", config_.check_images(), plan));
    }
    LOWBIT_ASSIGN_OR_RETURN(FoldResult result, FoldBatchNorm(plan.model));
    plan.model = std::move(result.model);
    plan.moments = std::move(result.moments);
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(FoldResult result, FoldBatchNorm(state.model));
    auto& record = context.report->steps.back();
    record["folded"] = result.folded.size();
    record["not_folded"] = result.not_folded;
    std::string line = absl::StrCat("fold: ", result.folded.size(), " batch norms folded");
    if (!result.not_folded.empty()) {
      absl::StrAppend(&line, ", not folded:\n  ", absl::StrJoin(result.not_folded, "\n  "));
    }
    LogLine(line);
    if (config_.check_images() > 0) {
      LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, context.data->Get(Split::kTrain));
      LOWBIT_ASSIGN_OR_RETURN(
          const double difference,
          MaxLogitDifference(state.model, result.model, *train, context.data->normalization(),
                             DrawImages(train->size(), config_.check_images(), context.seed, kPurpose), "fold"));
      record["check_images"] = config_.check_images();
      record["max_logit_difference"] = difference;
      LogLine(absl::StrFormat("fold: logits differ by at most %.2e over %d training images", difference,
                              config_.check_images()));
    }
    state.model = std::move(result.model);
    state.moments = std::move(result.moments);
    return absl::OkStatus();
  }

 private:
  const FoldStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeFoldStep(const FoldStep& config) {
  if (config.check_images() < 0) {
    return FieldError("check_images", absl::StrCat("must be at least 0, got ", config.check_images()));
  }
  return std::make_unique<FoldStepImpl>(config);
}

}  // namespace lowbit
