#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "pipeline/quantize_rules.h"
#include "pipeline/steps/steps.h"
#include "pipeline/tensor_histogram.h"
#include "quant/fake_quant_model.h"
#include "quant/quantize_layer.h"

namespace lowbit {
namespace {

constexpr char kDescription[] = "Step 0: in float. Step 1: quantized.";

class QuantizeStepImpl : public Step {
 public:
  explicit QuantizeStepImpl(QuantizeRules rules) : rules_(std::move(rules)) {}

  std::string name() const override { return "quantize"; }
  std::vector<Fact> needs() const override {
    if (rules_.HasActivations()) return {Fact::kWeights, Fact::kStatistics};
    return {Fact::kWeights};
  }
  std::vector<Fact> makes() const override { return {Fact::kQuantized}; }
  std::vector<Fact> refuses() const override { return {Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    const Graph& graph = plan.model.graph;
    LOWBIT_ASSIGN_OR_RETURN(const QuantizationPlan quantization, rules_.Apply(graph));
    for (const auto& [producer, choice] : quantization.activations) {
      if (choice.quantizer == nullptr) continue;
      plan.requests[graph.layer(producer).name].Merge(choice.quantizer->stats_request());
    }
    for (const auto& [layer, choice] : quantization.weights) {
      const int producer = graph.layer(layer).inputs.front();
      plan.quantization.push_back({graph.layer(layer).name, choice.ToString(),
                                   quantization.activations.at(producer).ToString(), graph.layer(producer).name});
    }
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    const Graph& graph = state.model.graph;
    LOWBIT_ASSIGN_OR_RETURN(const QuantizationPlan plan, rules_.Apply(graph));
    LOWBIT_ASSIGN_OR_RETURN(QuantizedModel quantized, ToQuantizedModel(state.model));
    LOWBIT_RETURN_IF_ERROR(QuantizeWeights(plan, context.variant, state.model, &quantized));
    LOWBIT_RETURN_IF_ERROR(FitActivations(plan, graph, state.statistics.get(), &quantized));

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
  static absl::Status QuantizeWeights(const QuantizationPlan& plan, const std::string& variant, const Model& model,
                                      QuantizedModel* quantized) {
    Progress progress(absl::StrCat("quantize", variant.empty() ? "" : " ", variant),
                      static_cast<int64_t>(plan.weights.size()), "layers");
    for (const auto& [index, choice] : plan.weights) {
      LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
      const Layer& layer = model.graph.layer(index);
      if (choice.quantizer != nullptr) {
        LOWBIT_ASSIGN_OR_RETURN(const QuantizedTensor tensor,
                                QuantizeLayerWeight(*choice.quantizer, model, index, choice.bits));
        LOWBIT_RETURN_IF_ERROR(SetWeight(layer.name, tensor, quantized));
      }
      progress.Advance(1);
    }
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
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeQuantizeStep(const QuantizeStep& config) {
  LOWBIT_ASSIGN_OR_RETURN(QuantizeRules rules, QuantizeRules::Create(config));
  return std::make_unique<QuantizeStepImpl>(std::move(rules));
}

}  // namespace lowbit
