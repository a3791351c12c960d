#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "model/passes/split_shortcuts.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

class SplitShortcutsStepImpl : public Step {
 public:
  std::string name() const override { return "split_shortcuts"; }
  bool uses_seed() const override { return false; }
  std::vector<Fact> refuses() const override { return {Fact::kStatistics, Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_ASSIGN_OR_RETURN(SplitResult result, SplitShortcuts(plan.model));
    if (result.split.empty()) {
      return absl::InvalidArgumentError(
          "finds no tensor that both a layer with a weight and a shortcut to an addition read; take the step out");
    }
    plan.model = std::move(result.model);
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(SplitResult result, SplitShortcuts(state.model));
    context.report->steps.back()["split"] = result.split;
    LogLine(absl::StrCat("split_shortcuts: shortcuts stay float behind ", absl::StrJoin(result.split, ", ")));
    state.model = std::move(result.model);
    return absl::OkStatus();
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeSplitShortcutsStep(const SplitShortcutsStep&) {
  return std::make_unique<SplitShortcutsStepImpl>();
}

}  // namespace lowbit
