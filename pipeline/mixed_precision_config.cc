#include "pipeline/mixed_precision_config.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "pipeline/effective_config.h"
#include "re2/re2.h"

namespace lowbit {
namespace {

constexpr char kSuffix[] = "_bits";
constexpr size_t kLongestName = 100;

// 0 bits: it stays float.
TensorRule MakeRule(const QuantizerMethod& method, int bits) {
  TensorRule rule;
  if (bits == 0) {
    rule.mutable_keep_float();
    return rule;
  }
  QuantizerSpec* spec = rule.mutable_quantizer();
  spec->set_name(method.name());
  spec->set_bits(bits);
  if (method.has_options()) *spec->mutable_options() = method.options();
  return rule;
}

// A rule for each pair of widths that there is, in the order of the network.
QuantizeStep MakeQuantize(const SensitivityStep& sensitivity, const Graph& graph, const BitsAssignment& assignment) {
  const auto bits_of = [](const std::map<int, int>& bits, int index) {
    const auto found = bits.find(index);
    return found == bits.end() ? 0 : found->second;
  };
  std::vector<std::pair<int, int>> pairs;
  std::map<std::pair<int, int>, std::vector<std::string>> layers;
  for (int i = 0; i < graph.size(); ++i) {
    const Layer& layer = graph.layer(i);
    if (!HasWeight(layer.op)) continue;
    const std::pair<int, int> pair = {bits_of(assignment.weights, i),
                                      bits_of(assignment.activations, layer.inputs.front())};
    if (layers.count(pair) == 0) pairs.push_back(pair);
    layers[pair].push_back(RE2::QuoteMeta(layer.name));
  }
  QuantizeStep quantize;
  for (const auto& pair : pairs) {
    QuantizeRule* rule = quantize.add_rules();
    rule->set_layers(absl::StrJoin(layers.at(pair), "|"));
    *rule->mutable_weights() = MakeRule(sensitivity.weights(), pair.first);
    *rule->mutable_activations() = MakeRule(sensitivity.activations(), pair.second);
  }
  return quantize;
}

}  // namespace

PipelineConfig ConfigWithBits(const PipelineConfig& config, const Graph& graph, const BitsAssignment& assignment) {
  PipelineConfig result = config;
  result.clear_sweep();
  result.clear_except();
  result.clear_table();
  result.clear_steps();
  if (config.name().size() + sizeof(kSuffix) - 1 <= kLongestName) {
    result.set_name(absl::StrCat(config.name(), kSuffix));
  }
  const SensitivityStep* sensitivity = nullptr;
  bool quantized = false;
  bool evaluated = false;
  for (const StepConfig& step : config.steps()) {
    if (step.skip()) continue;
    if (step.has_sensitivity()) {
      sensitivity = &step.sensitivity();
    } else if (step.has_mixed_precision()) {
      LOWBIT_CHECK(sensitivity != nullptr, "no sensitivity step before it");
      *result.add_steps()->mutable_quantize() = MakeQuantize(*sensitivity, graph, assignment);
      quantized = true;
    } else {
      *result.add_steps() = step;
      evaluated = evaluated || (quantized && step.has_evaluate());
    }
  }
  if (!evaluated) result.add_steps()->mutable_evaluate();
  return EffectiveConfig(result);
}

}  // namespace lowbit
