#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/field_error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "lapq/joint_scales.h"
#include "pipeline/calibration_images.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

class LapqStepImpl : public Step {
 public:
  explicit LapqStepImpl(const LapqStep& config) : config_(config) {}

  std::string name() const override { return "lapq"; }
  std::vector<Fact> needs() const override { return {Fact::kWeights, Fact::kQuantized, Fact::kFloatTwin}; }
  std::vector<Fact> makes() const override { return {Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_RETURN_IF_ERROR(PlanTrainingImages("num_images", config_.num_images(), plan));
    if (!config_.weights()) return absl::OkStatus();
    // What corrections change is only seen by Run.
    for (const PlannedTensor& tensor : plan.quantization) {
      if (tensor.chosen_rounding_bits == 0 || tensor.chosen_rounding_bits > config_.max_bits()) continue;
      return FieldError("weights",
                        absl::StrCat("the weight of ", tensor.layer, " (", tensor.weight,
                                     ") is not rounded to the nearest codes, so that new scales would undo the "
                                     "rounding that was chosen; `weights: false` leaves weights as they are"));
    }
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor images, LoadCalibrationImages(config_.num_images(), context));
    Progress progress("lapq", 0, "tries");
    JointScalesOptions options;
    options.powers.assign(config_.powers().begin(), config_.powers().end());
    options.iterations = config_.iterations();
    options.weights = config_.weights();
    options.activations = config_.activations();
    options.max_bits = config_.max_bits();
    options.on_evaluation = [&](double kl) {
      progress.Advance(1);
      progress.SetNote(absl::StrFormat("KL %.4f", kl));
      return CheckInterrupt();
    };
    LOWBIT_ASSIGN_OR_RETURN(JointScalesResult result,
                            SearchJointScales(state.model, *state.quantized, images, options));
    progress.Finish();
    if (result.scales.empty()) {
      LogLine(absl::StrCat("lapq: no tensor has at most ", config_.max_bits(), " bits (max_bits), nothing to search"));
      return absl::OkStatus();
    }
    Tell(result, context.report->steps.back());
    state.quantized = std::make_shared<QuantizedModel>(std::move(result.model));
    return absl::OkStatus();
  }

 private:
  static void Tell(const JointScalesResult& result, nlohmann::ordered_json& record) {
    record["start_kl"] = result.start_kl;
    record["kl"] = result.kl;
    record["evaluations"] = result.evaluations;
    for (size_t i = 0; i < result.powers.size(); ++i) {
      record["powers"].push_back({{"p", result.powers[i]}, {"kl", result.power_kl[i]}});
    }
    double smallest = 1, largest = 1;
    for (const SearchedScale& scale : result.scales) {
      smallest = std::min(smallest, scale.factor);
      largest = std::max(largest, scale.factor);
      record["scales"].push_back({{scale.is_weight ? "weight" : "activation", scale.layer}, {"factor", scale.factor}});
    }
    LogLine(
        absl::StrFormat("lapq: KL divergence from the float network's answers %.4f, was %.4f; %d scales moved by "
                        "factors of %.3g to %.3g",
                        result.kl, result.start_kl, result.scales.size(), smallest, largest));
  }

  const LapqStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeLapqStep(const LapqStep& config) {
  if (config.num_images() < 1) {
    return FieldError("num_images", absl::StrCat("must be at least 1, got ", config.num_images()));
  }
  for (int i = 0; i < config.powers_size(); ++i) {
    if (config.powers(i) >= 1 && config.powers(i) <= 10) continue;
    return FieldError(absl::StrCat("powers[", i, "]"), absl::StrCat("must be in [1, 10], got ", config.powers(i)));
  }
  if (config.iterations() < 0 || config.iterations() > 100) {
    return FieldError("iterations", absl::StrCat("must be in [0, 100], got ", config.iterations()));
  }
  if (!config.weights() && !config.activations()) {
    return FieldError("activations", "is false as weights is, so there is nothing to search");
  }
  if (config.max_bits() < 1 || config.max_bits() > 16) {
    return FieldError("max_bits", absl::StrCat("must be in [1, 16], got ", config.max_bits()));
  }
  return std::make_unique<LapqStepImpl>(config);
}

}  // namespace lowbit
