#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "pipeline/paths.h"
#include "pipeline/steps/steps.h"
#include "torch_int8/histogram_observer.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {
namespace {

constexpr char kFile[] = "int8.pt";

// LibTorch's engine that the config names, or the best one there is.
absl::StatusOr<std::string> ChooseEngine(const std::string& wanted) {
  const std::vector<std::string> engines = TorchInt8Engines();
  if (engines.empty()) return absl::FailedPreconditionError("this LibTorch was built without a quantized engine");
  if (wanted.empty()) return engines.front();
  for (const std::string& engine : engines) {
    if (engine == wanted) return engine;
  }
  return FieldError("engine",
                    absl::StrCat("this LibTorch has ", absl::StrJoin(engines, " and "), ", got \"", wanted, "\""));
}

class TorchInt8StepImpl : public Step {
 public:
  explicit TorchInt8StepImpl(const TorchInt8Step& config) : config_(config) {}

  std::string name() const override { return "torch_int8"; }
  std::vector<Fact> needs() const override { return {Fact::kWeights, Fact::kFolded, Fact::kStatistics}; }
  std::vector<Fact> makes() const override { return {Fact::kTorchInt8}; }
  std::vector<Fact> refuses() const override { return {Fact::kTorchInt8}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_RETURN_IF_ERROR(ChooseEngine(config_.engine()).status());
    LOWBIT_RETURN_IF_ERROR(CheckTorchInt8(plan.model.graph));
    StatsRequest request;
    request.min_max = true;
    request.histogram = true;
    for (const int i : TorchInt8Tensors(plan.model.graph)) {
      plan.requests[plan.model.graph.layer(i).name].Merge(request);
    }
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(const std::string engine, ChooseEngine(config_.engine()));
    const Graph& graph = state.model.graph;
    std::map<std::string, QuantParams> activations;
    for (const int i : TorchInt8Tensors(graph)) {
      const std::string& name = graph.layer(i).name;
      const auto statistics = state.statistics->find(name);
      LOWBIT_CHECK(statistics != state.statistics->end(), "no statistics of ", name);
      activations[name] = Quint8Params(statistics->second, config_.reduce_range());
    }
    LOWBIT_ASSIGN_OR_RETURN(TorchInt8Model model, TorchInt8Model::Create(state.model, activations, engine));
    LOWBIT_RETURN_IF_ERROR(MakeDirs(context.folder));
    const std::string path = JoinPath(context.folder, kFile);
    LOWBIT_RETURN_IF_ERROR(model.Save(path));
    LogLine(absl::StrCat("torch_int8: engine ", engine, "; for torch.jit.load: ", path));
    auto& record = context.report->steps.back();
    record["engine"] = engine;
    record["file"] = path;
    record["weight_bytes"] = TorchInt8WeightBytes(graph);
    state.torch_int8 = std::make_shared<TorchInt8Model>(std::move(model));
    return absl::OkStatus();
  }

 private:
  const TorchInt8Step config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeTorchInt8Step(const TorchInt8Step& config) {
  return std::make_unique<TorchInt8StepImpl>(config);
}

}  // namespace lowbit
