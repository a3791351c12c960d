#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/field_error.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/table.h"
#include "model/passes/equalize.h"
#include "model/passes/weight_pairs.h"
#include "pipeline/calibration_images.h"
#include "pipeline/logit_difference.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

constexpr uint64_t kPurpose = 0x65717561;  // "equa"

class EqualizeStepImpl : public Step {
 public:
  explicit EqualizeStepImpl(const EqualizeStep& config) : config_(config) {
    options_.iterations = config.iterations();
    options_.max_scale = config.max_scale();
  }

  std::string name() const override { return "equalize"; }
  bool uses_seed() const override { return config_.check_images() > 0; }
  std::vector<Fact> needs() const override {
    if (config_.absorb_high_bias()) return {Fact::kWeights, Fact::kFolded};
    return {Fact::kWeights};
  }
  std::vector<Fact> refuses() const override { return {Fact::kStatistics, Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_RETURN_IF_ERROR(CheckImages(plan));
    const WeightPairs found = FindWeightPairs(plan.model.graph);
    if (found.pairs.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("finds no two layers to equalize; a fold step takes batch norms out of the way",
                       found.unpaired.empty() ? "" : absl::StrCat(". The first obstacle: ", found.unpaired.front())));
    }
    LOWBIT_ASSIGN_OR_RETURN(EqualizeResult result, Equalize(plan.model, plan.moments, options_));
    if (config_.absorb_high_bias()) {
      LOWBIT_ASSIGN_OR_RETURN(AbsorbResult absorbed, AbsorbHighBiases(result.model, result.moments));
      if (absorbed.pairs.empty()) {
        return FieldError("absorb_high_bias",
                          "no first layer of a pair had its batch norm folded with a Relu behind it; take it out");
      }
      result.model = std::move(absorbed.model);
      result.moments = std::move(absorbed.moments);
    }
    plan.model = std::move(result.model);
    plan.moments = std::move(result.moments);
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(EqualizeResult result, Equalize(state.model, state.moments, options_));
    Tell(result, context.report->steps.back());
    LOWBIT_RETURN_IF_ERROR(Compare(context, state.model, result.model, "max_logit_difference", "equalized"));
    if (config_.absorb_high_bias()) {
      LOWBIT_ASSIGN_OR_RETURN(AbsorbResult absorbed, AbsorbHighBiases(result.model, result.moments));
      Tell(absorbed, context.report->steps.back());
      LOWBIT_RETURN_IF_ERROR(
          Compare(context, result.model, absorbed.model, "max_logit_difference_absorbed", "high biases absorbed"));
      result.model = std::move(absorbed.model);
      result.moments = std::move(absorbed.moments);
    }
    state.model = std::move(result.model);
    state.moments = std::move(result.moments);
    return absl::OkStatus();
  }

 private:
  absl::Status CheckImages(PlanState& plan) const {
    if (config_.check_images() == 0) return absl::OkStatus();
    return PlanTrainingImages("check_images", config_.check_images(), plan);
  }

  absl::Status Compare(const RunContext& context, const Model& before, const Model& after, const char* field,
                       absl::string_view what) const {
    if (config_.check_images() == 0) return absl::OkStatus();
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, context.data->Get(Split::kTrain));
    LOWBIT_ASSIGN_OR_RETURN(
        const double difference,
        MaxLogitDifference(before, after, *train, context.data->normalization(),
                           DrawImages(train->size(), config_.check_images(), context.seed, kPurpose), "equalize"));
    auto& record = context.report->steps.back();
    record["check_images"] = config_.check_images();
    record[field] = difference;
    LogLine(absl::StrFormat("equalize: %s, logits differ by at most %.2e over %d training images", what, difference,
                            config_.check_images()));
    return absl::OkStatus();
  }

  static void Tell(const EqualizeResult& result, nlohmann::ordered_json& record) {
    record["iterations"] = result.iterations;
    TableRows rows = {{"pair", "spread of ranges", "", "scales", "channels", "dead", "held back"}};
    for (const EqualizedPair& pair : result.pairs) {
      rows.push_back({absl::StrCat(pair.first, " > ", pair.second),
                      absl::StrFormat("%.3g > %.3g", pair.first_spread_before, pair.first_spread_after),
                      absl::StrFormat("%.3g > %.3g", pair.second_spread_before, pair.second_spread_after),
                      absl::StrFormat("%.3g to %.3g", pair.min_scale, pair.max_scale), absl::StrCat(pair.channels),
                      absl::StrCat(pair.dead), absl::StrCat(pair.limited)});
      record["pairs"].push_back({{"first", pair.first},
                                 {"second", pair.second},
                                 {"first_spread", {pair.first_spread_before, pair.first_spread_after}},
                                 {"second_spread", {pair.second_spread_before, pair.second_spread_after}},
                                 {"min_scale", pair.min_scale},
                                 {"max_scale", pair.max_scale},
                                 {"channels", pair.channels},
                                 {"dead", pair.dead},
                                 {"limited", pair.limited}});
    }
    record["unpaired"] = result.unpaired;
    LogLine(absl::StrCat("equalize: ", result.pairs.size(), " pairs of layers, ", result.iterations, " iterations\n\n",
                         AlignedTable(rows)));
  }

  static void Tell(const AbsorbResult& result, nlohmann::ordered_json& record) {
    int64_t channels = 0;
    for (const AbsorbedBias& pair : result.pairs) {
      channels += pair.channels;
      record["absorbed"].push_back({{"first", pair.first},
                                    {"second", pair.second},
                                    {"channels", pair.channels},
                                    {"max_absorbed", pair.max_absorbed},
                                    {"bias_made", pair.bias_made},
                                    {"pads_with_zeros", pair.pads_with_zeros}});
    }
    LogLine(absl::StrCat("equalize: high biases of ", channels, " channels absorbed, of ", result.pairs.size(),
                         " pairs of layers"));
  }

  const EqualizeStep config_;
  EqualizeOptions options_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeEqualizeStep(const EqualizeStep& config) {
  if (config.iterations() < 1) {
    return FieldError("iterations", absl::StrCat("must be at least 1, got ", config.iterations()));
  }
  if (!(config.max_scale() > 1 && config.max_scale() <= 1e6)) {
    return FieldError("max_scale", absl::StrCat("must be above 1 and at most 1e6, got ", config.max_scale()));
  }
  if (config.check_images() < 0) {
    return FieldError("check_images", absl::StrCat("must be at least 0, got ", config.check_images()));
  }
  return std::make_unique<EqualizeStepImpl>(config);
}

}  // namespace lowbit
