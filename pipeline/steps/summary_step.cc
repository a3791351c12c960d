#include "base/progress.h"
#include "model/summary.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

class SummaryStepImpl : public Step {
 public:
  std::string name() const override { return "summary"; }
  bool uses_seed() const override { return false; }
  bool is_quantization_work() const override { return false; }

  absl::Status Plan(PlanState&) const override { return absl::OkStatus(); }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LogLine(Summary(state.model.graph));
    auto& record = context.report->steps.back();
    record["layers"] = state.model.graph.size();
    record["parameters"] = ParameterCount(state.model.graph);
    record["macs"] = Macs(state.model.graph);
    return absl::OkStatus();
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeSummaryStep(const SummaryStep&) {
  return std::make_unique<SummaryStepImpl>();
}

}  // namespace lowbit
