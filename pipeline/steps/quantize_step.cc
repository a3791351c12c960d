#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/field_error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "pipeline/quantize_rules.h"
#include "pipeline/sequential_fit.h"
#include "pipeline/steps/steps.h"
#include "pipeline/tensor_histogram.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "quant/quantize_layer.h"

namespace lowbit {
namespace {

constexpr char kDescription[] = "Step 0: in float. Step 1: quantized.";

class QuantizeStepImpl : public Step {
 public:
  QuantizeStepImpl(QuantizeRules rules, std::optional<SequentialQuantization> sequential)
      : rules_(std::move(rules)), sequential_(std::move(sequential)) {}

  std::string name() const override { return "quantize"; }
  std::vector<Fact> needs() const override {
    if (rules_.WantsStatistics() || sequential_.has_value()) return {Fact::kWeights, Fact::kStatistics};
    return {Fact::kWeights};
  }
  std::vector<Fact> makes() const override { return {Fact::kQuantized, Fact::kFloatTwin}; }
  std::vector<Fact> refuses() const override { return {Fact::kQuantized}; }
  // What depends on it, the images, comes with the state.
  bool uses_seed() const override { return false; }

  absl::Status Plan(PlanState& plan) const override {
    const Graph& graph = plan.model.graph;
    LOWBIT_ASSIGN_OR_RETURN(const QuantizationPlan quantization, rules_.Apply(graph));
    if (sequential_.has_value() && sequential_->num_images() > plan.calibration_images) {
      return FieldError("sequential.num_images", absl::StrCat("the calibrate step draws ", plan.calibration_images,
                                                              " images, got ", sequential_->num_images()));
    }
    for (const auto& [producer, choice] : quantization.activations) {
      if (choice.quantizer == nullptr) continue;
      plan.requests[graph.layer(producer).name].Merge(choice.quantizer->stats_request());
    }
    for (const auto& [layer, choice] : quantization.weights) {
      const std::string& name = graph.layer(layer).name;
      if (choice.quantizer != nullptr && sequential_.has_value()) {
        plan.requests[name].images = true;
      } else if (choice.quantizer != nullptr && !choice.quantizer->weight_stats_request().empty()) {
        plan.requests[name].Merge(choice.quantizer->weight_stats_request());
      }
      const int producer = graph.layer(layer).inputs.front();
      const bool chosen =
          choice.quantizer != nullptr && (sequential_.has_value() || !choice.quantizer->rounds_to_nearest());
      plan.quantization.push_back({name, choice.ToString(), quantization.activations.at(producer).ToString(),
                                   graph.layer(producer).name, chosen ? choice.bits : 0});
    }
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    const Graph& graph = state.model.graph;
    LOWBIT_ASSIGN_OR_RETURN(const QuantizationPlan plan, rules_.Apply(graph));
    LOWBIT_ASSIGN_OR_RETURN(QuantizedModel quantized, ToQuantizedModel(state.model));
    // Activations first: the weights may be fitted to what is left of them.
    LOWBIT_RETURN_IF_ERROR(FitActivations(plan, graph, state.statistics.get(), &quantized));
    LOWBIT_RETURN_IF_ERROR(QuantizeWeights(plan, context, state, &quantized));

    auto& record = context.report->steps.back();
    record["weights"] = quantized.weights.size();
    record["activations"] = quantized.activations.size();
    auto& layers = record["layers"];
    for (const auto& [layer, choice] : plan.weights) {
      const int producer = graph.layer(layer).inputs.front();
      layers.push_back({{"layer", graph.layer(layer).name},
                        {"weights", choice.ToString()},
                        {"activations", plan.activations.at(producer).ToString()},
                        {"activations_from", graph.layer(producer).name}});
    }
    // The model is kept even if its pictures cannot be written.
    state.quantized = std::make_shared<QuantizedModel>(std::move(quantized));
    if (context.events == nullptr) return absl::OkStatus();
    return WriteHistograms(state.model, state.sample.get(), *state.quantized, context.events);
  }

 private:
  absl::Status QuantizeWeights(const QuantizationPlan& plan, const RunContext& context, const RunState& state,
                               QuantizedModel* quantized) const {
    Progress progress(absl::StrCat("quantize", context.variant.empty() ? "" : " ", context.variant),
                      static_cast<int64_t>(plan.weights.size()), "layers");
    std::optional<SequentialFitter> fitter;
    if (sequential_.has_value()) {
      const int64_t all = static_cast<int64_t>(state.calibration->indices.size());
      const int64_t count = sequential_->num_images() == 0 ? all : sequential_->num_images();
      LOWBIT_ASSIGN_OR_RETURN(fitter, SequentialFitter::Create(state.model, *state.calibration, count, context.data));
    }
    std::set<int> pending;  // layers whose weight is still to be quantized
    for (const auto& [index, choice] : plan.weights) {
      if (choice.quantizer != nullptr) pending.insert(index);
    }
    for (const auto& [index, choice] : plan.weights) {
      LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
      if (choice.quantizer != nullptr && sequential_.has_value()) {
        pending.erase(index);
        const FitTarget target = ChooseTarget(state.model.graph, index, pending, sequential_->correct_sums());
        LOWBIT_RETURN_IF_ERROR(FitAndQuantize(target, choice, context, state, &*fitter, quantized));
      } else if (choice.quantizer != nullptr) {
        LOWBIT_ASSIGN_OR_RETURN(
            const QuantizedTensor tensor,
            QuantizeLayerWeight(*choice.quantizer, state.model, state.inputs.get(), index, choice.bits));
        LOWBIT_RETURN_IF_ERROR(SetWeight(state.model.graph.layer(index).name, tensor, quantized));
      }
      progress.Advance(1);
    }
    return absl::OkStatus();
  }

  // After it was fitted to what the quantized network before it puts out.
  absl::Status FitAndQuantize(const FitTarget& target, const TensorChoice& choice, const RunContext& context,
                              const RunState& state, SequentialFitter* fitter, QuantizedModel* quantized) const {
    const Layer& layer = state.model.graph.layer(target.layer);
    const std::string weight_name = ParameterName(layer.name, "weight");
    const std::string bias_name = ParameterName(layer.name, "bias");
    LOWBIT_ASSIGN_OR_RETURN(const LayerRegression regression, fitter->Regress(target, *quantized));
    const at::Tensor& given = state.model.parameters.at(weight_name);
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor weight, regression.FitWeight(given, sequential_->damping()));
    const InputStatistics moments = regression.Moments();
    LOWBIT_ASSIGN_OR_RETURN(const QuantizedTensor tensor,
                            choice.quantizer->QuantizeWeight({layer, weight, choice.bits, &moments}));
    LOWBIT_RETURN_IF_ERROR(SetWeight(layer.name, tensor, quantized));
    const at::Tensor value = Dequantize(tensor.codes, tensor.params);
    const bool has_bias = quantized->parameters.count(bias_name) > 0;
    at::Tensor bias, given_bias;
    if (has_bias) {
      bias = regression.FitBias(value);
      given_bias = state.model.parameters.at(bias_name);
      LOWBIT_RETURN_IF_ERROR(SetParameter(bias_name, bias, quantized));
    }
    // What share of the variance of its output the layer misses: with the weight as given, as fitted, and quantized.
    context.report->steps.back()["sequential"].push_back(
        {{"layer", layer.name},
         {"error_given", regression.RelativeError(given, given_bias)},
         {"error_fitted", regression.RelativeError(weight, has_bias ? regression.FitBias(weight) : at::Tensor())},
         {"error_quantized", regression.RelativeError(value, bias)}});
    return absl::OkStatus();
  }

  static absl::Status FitActivations(const QuantizationPlan& plan, const Graph& graph,
                                     const NetworkStatistics* statistics, QuantizedModel* quantized) {
    for (const auto& [index, choice] : plan.activations) {
      if (choice.quantizer == nullptr) continue;
      LOWBIT_ASSIGN_OR_RETURN(quantized->activations[graph.layer(index).name],
                              FitLayerActivation(*choice.quantizer, graph, statistics, index, choice.bits));
    }
    return absl::OkStatus();
  }

  // Before and after as two steps of one chart, which TensorBoard draws behind each other.
  static absl::Status WriteHistograms(const Model& model, const NetworkStatistics* sample,
                                      const QuantizedModel& quantized, EventWriter* events) {
    const auto write = [&](absl::string_view what, const std::string& layer, const HistogramSummary& before,
                           const HistogramSummary& after) {
      const std::string tag = absl::StrCat(what, "/", layer);
      LOWBIT_RETURN_IF_ERROR(events->AddHistogram(tag, 0, before, kDescription));
      return events->AddHistogram(tag, 1, after, kDescription);
    };
    LOWBIT_ASSIGN_OR_RETURN(const ParameterMap parameters, FakeQuantParameters(quantized));
    for (const auto& [layer, weight] : quantized.weights) {
      const std::string name = ParameterName(layer, "weight");
      LOWBIT_RETURN_IF_ERROR(
          write("weights", layer, SummarizeTensor(model.parameters.at(name)), SummarizeTensor(parameters.at(name))));
    }
    for (const auto& [layer, params] : quantized.activations) {
      const Histogram& bins = sample->at(layer).histogram();
      LOWBIT_RETURN_IF_ERROR(write("activations", layer, SummarizeBins(bins), SummarizeQuantizedBins(bins, params)));
    }
    return absl::OkStatus();
  }

  const QuantizeRules rules_;
  const std::optional<SequentialQuantization> sequential_;
};

absl::Status CheckSequential(const SequentialQuantization& sequential) {
  if (!(sequential.damping() > 0 && sequential.damping() <= 1000)) {
    return FieldError("sequential.damping", absl::StrCat("must be in (0, 1000], got ", sequential.damping()));
  }
  if (sequential.num_images() < 0) {
    return FieldError("sequential.num_images",
                      absl::StrCat("must be at least 1, or 0 for all, got ", sequential.num_images()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeQuantizeStep(const QuantizeStep& config) {
  LOWBIT_ASSIGN_OR_RETURN(QuantizeRules rules, QuantizeRules::Create(config));
  std::optional<SequentialQuantization> sequential;
  if (config.has_sequential()) {
    LOWBIT_RETURN_IF_ERROR(CheckSequential(config.sequential()));
    sequential = config.sequential();
  }
  return std::make_unique<QuantizeStepImpl>(std::move(rules), std::move(sequential));
}

}  // namespace lowbit
