#include "pipeline/step_tree.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "pipeline/create_step.h"
#include "pipeline/effective_config.h"
#include "pipeline/paths.h"
#include "pipeline/step_order.h"

namespace lowbit {
namespace {

std::string StepField(const PlannedStep& step) { return absl::StrCat("steps[", step.index, "].", step.step->name()); }

// An error names the field at fault, which may lie outside of the step ("model", "dataset.data_dir").
absl::Status PlanStep(const Step& step, const std::string& field, PlanState& state) {
  const absl::Status status = step.Plan(state);
  const std::string at = ErrorField(status).value_or("");
  if (status.ok() || at == "model" || at == "dataset.data_dir") return status;
  return PrependField(status, field);
}

void MergeInto(const StatsRequests& requests, StatsRequests* all) {
  for (const auto& [layer, request] : requests) (*all)[layer].Merge(request);
}

// First the trees' shape, from the configs alone; then each step of them plans its work, after the one that it goes on
// from.
class Planter {
 public:
  explicit Planter(RunPlan* plan) : plan_(*plan) {}

  absl::Status Plant(std::vector<SweepVariant> variants) {
    for (SweepVariant& variant : variants) {
      LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
      const PipelineConfig config = EffectiveConfig(variant.config.proto());
      const absl::Status added = Add(variant, config);
      if (!added.ok()) return variant.config.Locate(added);
    }
    for (PlannedStart& start : plan_.starts) {
      PlannedVariant& first = plan_.variants[static_cast<size_t>(start.variant)];
      const PlanState state{plan_.data.get(), start.model.model, {}, {}, first.seed, plan_.resume_folder};
      LOWBIT_RETURN_IF_ERROR(PlanAll(start.next, state, &requests_));
    }
    return CheckStatisticsAreRead();
  }

 private:
  // What a step goes on from (a start, or another step), and what it wants.
  using Key = std::pair<int, std::string>;

  absl::Status Add(SweepVariant& variant, const PipelineConfig& config) {
    const int number = static_cast<int>(plan_.variants.size());
    PlannedVariant planned{variant.choice,
                           LabelOf(plan_.axes, variant.choice, std::vector<bool>(plan_.axes.size(), true)),
                           variant.config,
                           config,
                           config.seed(),
                           0,
                           {},
                           {}};
    std::vector<std::shared_ptr<const Step>> steps;  // null: skipped
    for (int i = 0; i < config.steps_size(); ++i) {
      auto step = GetStep(config.steps(i));
      if (!step.ok()) return PrependField(step.status(), absl::StrCat("steps[", i, "]"));
      steps.push_back(*std::move(step));
    }
    LOWBIT_ASSIGN_OR_RETURN(planned.start, GetStart(config, number));
    LOWBIT_RETURN_IF_ERROR(CheckOrder(steps, plan_.starts[static_cast<size_t>(planned.start)].model));
    plan_.variants.push_back(std::move(planned));

    // Starts have negative numbers among what steps go on from.
    int from = -1 - plan_.variants.back().start;
    for (int i = 0; i < config.steps_size(); ++i) {
      const std::shared_ptr<const Step>& step = steps[static_cast<size_t>(i)];
      if (step == nullptr) continue;
      std::string want = config.steps(i).SerializeAsString();
      if (step->uses_seed()) absl::StrAppend(&want, "|", config.seed());
      from = GetPlannedStep({from, std::move(want)}, step, i);
    }
    if (from < 0) return FieldError("steps", "all of them are skipped");
    plan_.steps[static_cast<size_t>(from)].ending.push_back(number);
    return absl::OkStatus();
  }

  // Null for one that is skipped. Steps are immutable: of the same config there is one.
  absl::StatusOr<std::shared_ptr<const Step>> GetStep(const StepConfig& config) {
    if (config.skip() && config.kind_case() != StepConfig::KIND_NOT_SET) return nullptr;
    std::shared_ptr<const Step>& known = made_[config.SerializeAsString()];
    if (known == nullptr) {
      LOWBIT_ASSIGN_OR_RETURN(known, CreateStep(config));
    }
    return known;
  }

  absl::StatusOr<int> GetStart(const PipelineConfig& config, int variant) {
    const ModelConfig& model = config.model();
    const bool random = model.weights().empty() && model.quantized_model().empty() && model.torch_int8_model().empty();
    const std::string key = absl::StrCat(model.SerializeAsString(), "|", random ? config.seed() : 0);
    const auto [known, is_new] = starts_.emplace(key, static_cast<int>(plan_.starts.size()));
    if (is_new) {
      auto loaded = LoadModel(model, config.seed());
      if (!loaded.ok()) return PrependField(loaded.status(), "model");
      plan_.starts.push_back({*std::move(loaded), variant, {}});
    }
    return known->second;
  }

  static absl::Status CheckOrder(const std::vector<std::shared_ptr<const Step>>& steps, const LoadedModel& start) {
    std::vector<Fact> facts;
    if (start.has_weights) facts.push_back(Fact::kWeights);
    if (start.quantized != nullptr) facts.push_back(Fact::kQuantized);
    if (start.torch_int8 != nullptr) facts.push_back(Fact::kTorchInt8);
    std::vector<const Step*> order;
    for (const auto& step : steps) order.push_back(step.get());
    return CheckStepOrder(order, facts);
  }

  // The step for the variant that was added last.
  int GetPlannedStep(const Key& key, const std::shared_ptr<const Step>& step, int index) {
    const int number = static_cast<int>(plan_.steps.size());
    const auto [known, is_new] = planned_.emplace(key, number);
    PlannedVariant& variant = plan_.variants.back();
    variant.path.push_back(known->second);
    if (is_new) {
      plan_.steps.push_back({step, index, static_cast<int>(plan_.variants.size()) - 1, {}, {}, {}, {}});
      plan_.steps.back().label = LabelAt(plan_, variant, variant.path.size() - 1);
      const int from = key.first;
      (from < 0 ? plan_.starts[static_cast<size_t>(-1 - from)].next : plan_.steps[static_cast<size_t>(from)].next)
          .push_back(number);
    }
    return known->second;
  }

  // Plans `steps`, which all begin with `state`, and what comes after them. Adds what they want to know to `requests`.
  absl::Status PlanAll(const std::vector<int>& steps, const PlanState& state, StatsRequests* requests) {
    for (const int number : steps) {
      LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
      PlannedStep& planned = plan_.steps[static_cast<size_t>(number)];
      const PlannedVariant& variant = plan_.variants[static_cast<size_t>(planned.variant)];
      PlanState after = state;
      after.seed = variant.seed;
      if (!plan_.resume_folder.empty() && !planned.label.file.empty()) {
        after.resume_folder = JoinPath(plan_.resume_folder, planned.label.file);
      }
      const absl::Status status = PlanStep(*planned.step, StepField(planned), after);
      if (!status.ok()) return variant.source.Locate(status);
      for (const int ending : planned.ending) {
        plan_.variants[static_cast<size_t>(ending)].quantization = after.quantization;
        MergeInto(after.requests, &planned.requests);
      }
      LOWBIT_RETURN_IF_ERROR(PlanAll(planned.next, after, &planned.requests));
      MergeInto(planned.requests, requests);
    }
    return absl::OkStatus();
  }

  // A calibrate step whose statistics nobody reads is a mistake in the config.
  absl::Status CheckStatisticsAreRead() const {
    if (!requests_.empty()) return absl::OkStatus();
    const PlannedVariant& variant = plan_.variants.front();
    for (const int number : variant.path) {
      const PlannedStep& planned = plan_.steps[static_cast<size_t>(number)];
      if (!Makes(*planned.step, Fact::kStatistics)) continue;
      return variant.source.Locate(
          FieldError(StepField(planned), "no later step wants to know anything about activations; take it out"));
    }
    return absl::OkStatus();
  }

  RunPlan& plan_;
  StatsRequests requests_;                                   // of all variants
  std::map<std::string, std::shared_ptr<const Step>> made_;  // by the step's config
  std::map<std::string, int> starts_;
  std::map<Key, int> planned_;
};

}  // namespace

absl::Status PlantSteps(std::vector<SweepVariant> variants, RunPlan* plan) {
  return Planter(plan).Plant(std::move(variants));
}

}  // namespace lowbit
