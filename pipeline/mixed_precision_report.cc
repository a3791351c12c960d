#include "pipeline/mixed_precision_report.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lowbit {

TableRows BitsTable(const Graph& graph, const BitsProblem& problem, const BitsAssignment& bits) {
  const double total = KlOf(problem, bits);
  TableRows rows = {{"layer", "MACs", "weights", "weight bits", "activation bits", "KL", "share of KL %"}};
  std::set<int> counted;  // tensors
  for (const auto& layer : problem.layers) {
    double kl = layer.kl.at(bits.weights.at(layer.layer));
    const auto activation = bits.activations.find(layer.producer);
    if (activation != bits.activations.end() && counted.insert(layer.producer).second) {
      kl += problem.tensor_kl.at(layer.producer).at(activation->second);
    }
    rows.push_back({graph.layer(layer.layer).name, absl::StrCat(layer.macs), absl::StrCat(layer.weights),
                    absl::StrCat(bits.weights.at(layer.layer)),
                    activation == bits.activations.end() ? "float" : absl::StrCat(activation->second),
                    absl::StrFormat("%.5f", kl), absl::StrFormat("%.1f", total > 0 ? 100 * kl / total : 0)});
  }
  return rows;
}

TableRows BitsComparison(const BitsProblem& problem, const std::vector<VerifiedBits>& choices) {
  TableRows rows = {
      {"bits", "mean weight bits", "weight bytes", "10^9 bit operations", "sum of KLs", "KL", "same top-1 %"}};
  for (const VerifiedBits& choice : choices) {
    rows.push_back(
        {choice.name, absl::StrFormat("%.3f", MeanWeightBits(problem, choice.bits)),
         absl::StrCat(CostOf(problem, choice.bits, BitsCost::kWeightBytes)),
         absl::StrFormat("%.3f", 1e-9 * static_cast<double>(CostOf(problem, choice.bits, BitsCost::kBitOperations))),
         absl::StrFormat("%.4f", KlOf(problem, choice.bits)), absl::StrFormat("%.4f", choice.change.kl()),
         absl::StrFormat("%.2f", 100 * choice.change.same_top1())});
  }
  return rows;
}

nlohmann::ordered_json MixedPrecisionJson(const Graph& graph, const BitsProblem& problem,
                                          const std::vector<VerifiedBits>& choices) {
  nlohmann::ordered_json json;
  const BitsAssignment& bits = choices.front().bits;
  json["layers"] = nlohmann::ordered_json::array();
  for (const auto& layer : problem.layers) {
    const auto activation = bits.activations.find(layer.producer);
    json["layers"].push_back({{"layer", graph.layer(layer.layer).name},
                              {"reads", graph.layer(layer.producer).name},
                              {"macs", layer.macs},
                              {"weights", layer.weights},
                              {"weight_bits", bits.weights.at(layer.layer)},
                              {"weight_bytes", layer.bytes.at(bits.weights.at(layer.layer))},
                              {"weight_kl", layer.kl.at(bits.weights.at(layer.layer))}});
    if (activation == bits.activations.end()) continue;
    json["layers"].back()["activation_bits"] = activation->second;
    json["layers"].back()["activation_kl"] = problem.tensor_kl.at(layer.producer).at(activation->second);
  }
  json["choices"] = nlohmann::ordered_json::array();
  for (const VerifiedBits& choice : choices) {
    json["choices"].push_back({{"bits", choice.name},
                               {"mean_weight_bits", MeanWeightBits(problem, choice.bits)},
                               {"weight_bytes", CostOf(problem, choice.bits, BitsCost::kWeightBytes)},
                               {"bit_operations", CostOf(problem, choice.bits, BitsCost::kBitOperations)},
                               {"sum_of_kls", KlOf(problem, choice.bits)},
                               {"kl", choice.change.kl()},
                               {"same_top1", choice.change.same_top1()}});
  }
  return json;
}

}  // namespace lowbit
