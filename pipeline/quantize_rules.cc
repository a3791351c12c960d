#include "pipeline/quantize_rules.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/did_you_mean.h"
#include "base/explicit_defaults.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "quant/quant_params.h"
#include "quant/quantizer_registry.h"
#include "re2/re2.h"

namespace lowbit {
namespace {

absl::StatusOr<TensorChoice> MakeChoice(const TensorRule& rule) {
  if (rule.has_keep_float()) return TensorChoice{"keep_float", nullptr, 0, "float"};
  if (!rule.has_quantizer()) {
    return absl::InvalidArgumentError("is empty; it should hold quantizer { ... } or keep_float {}");
  }
  const QuantizerSpec& spec = rule.quantizer();
  if (spec.name().empty()) {
    return FieldError("quantizer", absl::StrCat("has no name; known are: ", absl::StrJoin(QuantizerNames(), ", ")));
  }
  auto quantizer = CreateQuantizer(spec.name(), spec.has_options() ? &spec.options() : nullptr);
  if (!quantizer.ok()) return PrependField(quantizer.status(), "quantizer");
  if (spec.bits() == 0) return FieldError("quantizer.bits", "is missing; it must be 1 to 8, or 16");
  const absl::Status width = CheckWidth(spec.bits());
  if (!width.ok()) return PrependField(width, "quantizer");
  return TensorChoice{"quantizer", *std::move(quantizer), spec.bits(), CanonicalText(spec)};
}

// RE2, since its time is linear in the expression and the name: std::regex would take for ever, or the whole stack,
// over some.
absl::StatusOr<std::unique_ptr<const RE2>> MakeRegex(const std::string& expression) {
  auto regex = std::make_unique<const RE2>(expression, RE2::Quiet);
  if (regex->ok()) return regex;
  return FieldError("layers", absl::StrCat("\"", expression, "\" is no regular expression: ", regex->error()));
}

// Convolutions and linear layers.
std::vector<int> QuantizableLayers(const Graph& graph) {
  std::vector<int> layers;
  for (int i = 0; i < graph.size(); ++i) {
    if (HasWeight(graph.layer(i).op)) layers.push_back(i);
  }
  return layers;
}

absl::Status CheckSupported(const Layer& layer, Role role, const TensorChoice& choice) {
  if (choice.quantizer == nullptr) return absl::OkStatus();
  const absl::Status status = choice.quantizer->Supports(layer, role, choice.bits);
  if (status.ok()) return status;
  return PrependField(status, choice.field);
}

}  // namespace

struct QuantizeRules::Rule {
  std::string field;  // "rules[0]"
  std::string expression;
  std::unique_ptr<const RE2> regex;
  std::optional<TensorChoice> weights, activations;

  bool Matches(const std::string& layer) const { return RE2::FullMatch(layer, *regex); }
  const std::optional<TensorChoice>& choice(Role role) const { return role == Role::kWeight ? weights : activations; }
};

std::string TensorChoice::ToString() const {
  if (quantizer == nullptr) return "float";
  return absl::StrCat(quantizer->name(), ", ", bits, bits == 1 ? " bit" : " bits");
}

absl::StatusOr<QuantizeRules> QuantizeRules::Create(const QuantizeStep& config) {
  if (config.rules().empty()) return absl::InvalidArgumentError("has no rules");
  std::vector<std::shared_ptr<const Rule>> rules;
  for (const QuantizeRule& proto : config.rules()) {
    auto rule = std::make_shared<Rule>();
    rule->field = absl::StrCat("rules[", rules.size(), "]");
    rule->expression = proto.layers();
    auto regex = MakeRegex(proto.layers());
    if (!regex.ok()) return PrependField(regex.status(), rule->field);
    rule->regex = *std::move(regex);
    if (!proto.has_weights() && !proto.has_activations()) {
      return FieldError(rule->field, "says nothing about weights or activations");
    }
    const auto set_choice = [&](const TensorRule& from, const char* role, std::optional<TensorChoice>* to) {
      const std::string field = absl::StrCat(rule->field, ".", role);
      auto choice = MakeChoice(from);
      if (!choice.ok()) return PrependField(choice.status(), field);
      *to = *std::move(choice);
      (*to)->field = absl::StrCat(field, ".", (*to)->field);
      return absl::OkStatus();
    };
    if (proto.has_weights()) LOWBIT_RETURN_IF_ERROR(set_choice(proto.weights(), "weights", &rule->weights));
    if (proto.has_activations()) {
      LOWBIT_RETURN_IF_ERROR(set_choice(proto.activations(), "activations", &rule->activations));
    }
    rules.push_back(std::move(rule));
  }
  return QuantizeRules(std::move(rules));
}

bool QuantizeRules::WantsStatistics() const {
  return std::any_of(rules_.begin(), rules_.end(), [](const std::shared_ptr<const Rule>& rule) {
    const bool activations = rule->activations.has_value() && rule->activations->quantizer != nullptr;
    const bool weights = rule->weights.has_value() && rule->weights->quantizer != nullptr;
    return activations || (weights && !rule->weights->quantizer->weight_stats_request().empty());
  });
}

absl::Status QuantizeRules::CheckEachMatches(const std::vector<std::string>& layers) const {
  for (const auto& rule : rules_) {
    if (std::any_of(layers.begin(), layers.end(), [&](const std::string& layer) { return rule->Matches(layer); })) {
      continue;
    }
    return FieldError(absl::StrCat(rule->field, ".layers"),
                      absl::StrCat("\"", rule->expression, "\" matches no convolution or linear layer",
                                   DidYouMean(rule->expression, layers), "; there are: ", absl::StrJoin(layers, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorChoice> QuantizeRules::Choose(const std::string& layer, Role role) const {
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if ((*rule)->choice(role).has_value() && (*rule)->Matches(layer)) return *(*rule)->choice(role);
  }
  return FieldError("rules",
                    absl::StrCat("no rule says what becomes of the ", role == Role::kWeight ? "weights" : "activations",
                                 " of \"", layer, "\"; a rule with keep_float {} would leave them as they are"));
}

absl::Status QuantizeRules::CheckEachDecides(const std::set<std::string>& deciding) const {
  for (const auto& rule : rules_) {
    for (const auto* choice : {&rule->weights, &rule->activations}) {
      if (!choice->has_value() || deciding.count((*choice)->field) > 0) continue;
      return FieldError((*choice)->field,
                        "decides nothing: a later rule decides for every layer that this one matches");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<QuantizationPlan> QuantizeRules::Apply(const Graph& graph) const {
  const std::vector<int> layers = QuantizableLayers(graph);
  std::vector<std::string> names;
  for (const int i : layers) names.push_back(graph.layer(i).name);
  LOWBIT_RETURN_IF_ERROR(CheckEachMatches(names));

  QuantizationPlan plan;
  std::map<int, std::string> first_reader;  // of each tensor
  std::set<std::string> deciding;           // fields of choices that are some layer's
  for (const int i : layers) {
    const Layer& layer = graph.layer(i);
    LOWBIT_ASSIGN_OR_RETURN(TensorChoice weights, Choose(layer.name, Role::kWeight));
    LOWBIT_RETURN_IF_ERROR(CheckSupported(layer, Role::kWeight, weights));
    deciding.insert(weights.field);
    plan.weights.emplace(i, std::move(weights));

    LOWBIT_ASSIGN_OR_RETURN(TensorChoice activations, Choose(layer.name, Role::kActivation));
    const int producer = layer.inputs.front();
    LOWBIT_RETURN_IF_ERROR(CheckSupported(graph.layer(producer), Role::kActivation, activations));
    deciding.insert(activations.field);
    const auto [planned, is_new] = plan.activations.emplace(producer, activations);
    if (is_new) first_reader[producer] = layer.name;
    if (planned->second.meaning != activations.meaning) {
      return FieldError(
          activations.field,
          absl::StrCat("\"", layer.name, "\" and \"", first_reader[producer], "\" read the same tensor, from \"",
                       graph.layer(producer).name, "\", but one would have it as ", activations.ToString(),
                       ", the other as ", planned->second.ToString(), " (", planned->second.field, ")"));
    }
  }
  LOWBIT_RETURN_IF_ERROR(CheckEachDecides(deciding));
  return plan;
}

}  // namespace lowbit
