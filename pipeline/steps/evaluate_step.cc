#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "evaluation/evaluator.h"
#include "model/executor.h"
#include "pipeline/steps/steps.h"
#include "quant/fake_quant_model.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {
namespace {

// The network as it stands: float, or with what the quantizers chose; or as LibTorch's 8-bit model.
absl::StatusOr<ForwardFunction> MakeForward(const RunState& state, EvaluationEngine engine) {
  if (engine == TORCH_INT8) {
    return ForwardFunction([model = state.torch_int8](const at::Tensor& x) { return model->Forward(x); });
  }
  if (state.quantized == nullptr) {
    auto executor = Executor::Create(state.model.graph, state.model.parameters);
    if (!executor.ok()) return executor.status();
    return ForwardFunction(
        [run = std::make_shared<Executor>(*std::move(executor))](const at::Tensor& x) { return run->Forward(x); });
  }
  LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(*state.quantized));
  LOWBIT_ASSIGN_OR_RETURN(Executor executor, Executor::Create(state.quantized->graph, std::move(parameters)));
  auto hook = std::make_shared<FakeQuantHook>(*state.quantized);
  return ForwardFunction([run = std::make_shared<Executor>(std::move(executor)), hook](const at::Tensor& x) {
    return run->Forward(x, hook.get());
  });
}

class EvaluateStepImpl : public Step {
 public:
  explicit EvaluateStepImpl(const EvaluateStep& config) : config_(config) {}

  std::string name() const override { return "evaluate"; }
  std::vector<Fact> needs() const override {
    return {config_.engine() == TORCH_INT8 ? Fact::kTorchInt8 : Fact::kWeights};
  }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* test, plan.data->Get(Split::kTest));
    LOWBIT_RETURN_IF_ERROR(CheckFits(plan.model.graph, *test));
    if (config_.max_images() > test->size()) {
      return FieldError("max_images",
                        absl::StrCat("there are ", test->size(), " test images, got ", config_.max_images()));
    }
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(const ForwardFunction forward, MakeForward(state, config_.engine()));
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* test, context.data->Get(Split::kTest));
    LoaderOptions loading;
    loading.order = SequentialOrder(config_.max_images() > 0 ? config_.max_images() : test->size());
    loading.batch_size = config_.batch_size();
    loading.normalization = context.data->normalization();
    LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(test, std::move(loading)));

    EvaluationRow row;
    row.variant = context.variant;
    row.name = config_.name();
    if (config_.engine() == TORCH_INT8) {
      if (row.name.empty()) row.name = "LibTorch int8";
      row.quantized = true;
      row.weight_bytes = TorchInt8WeightBytes(state.torch_int8->graph());
    } else {
      row.quantized = state.quantized != nullptr;
      row.weight_bytes = row.quantized ? WeightBytes(*state.quantized) : FloatWeightBytes(state.model.graph);
    }
    EvaluationOptions options;
    options.label = absl::StrCat("evaluate ", row.label());
    LOWBIT_ASSIGN_OR_RETURN(row.result, Evaluate(forward, *loader, options));
    auto& record = context.report->steps.back();
    record["images"] = row.result.metrics.images;
    record["top1"] = row.result.metrics.top1;
    context.report->class_names = test->class_names();
    context.report->rows.push_back(std::move(row));
    return absl::OkStatus();
  }

 private:
  const EvaluateStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeEvaluateStep(const EvaluateStep& config) {
  if (config.max_images() < 0) {
    return FieldError("max_images", absl::StrCat("must be at least 0, got ", config.max_images()));
  }
  if (config.batch_size() < 1) {
    return FieldError("batch_size", absl::StrCat("must be at least 1, got ", config.batch_size()));
  }
  return std::make_unique<EvaluateStepImpl>(config);
}

}  // namespace lowbit
