#ifndef LOWBIT_PIPELINE_QUANTIZE_RULES_H_
#define LOWBIT_PIPELINE_QUANTIZE_RULES_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/graph.h"
#include "pipeline/config.pb.h"
#include "quant/quantizer.h"

namespace lowbit {

// What a rule says about one role.
struct TensorChoice {
  std::string field;                           // where it says so: "rules[0].weights.quantizer"
  std::shared_ptr<const Quantizer> quantizer;  // null: stays float
  int bits = 0;
  std::string meaning;  // equal for choices that mean the same

  // "min_max, 8 bits" or "float".
  std::string ToString() const;
};

// What the rules come to for one network. By layer index, in the graph's order.
struct QuantizationPlan {
  std::map<int, TensorChoice> weights;      // of convolutions and linear layers; all of them are here
  std::map<int, TensorChoice> activations;  // of the layers whose output they read
};

// The rules of a quantize step: regular expressions on layer names, last match wins.
class QuantizeRules {
 public:
  // Makes the quantizers and reads the expressions. Errors name the field in QuantizeStep.
  static absl::StatusOr<QuantizeRules> Create(const QuantizeStep& config);

  // Whether any rule quantizes activations, or gives weights to a quantizer that wants to know what their layers read.
  bool WantsStatistics() const;

  // Errors, with the field at fault: a rule that matches no convolution or linear layer; one of them that no rule
  // matches for a role; a tensor whose readers ask for different things; a layer that its quantizer does not support; a
  // choice that later rules leave without a layer.
  absl::StatusOr<QuantizationPlan> Apply(const Graph& graph) const;

 private:
  struct Rule;

  explicit QuantizeRules(std::vector<std::shared_ptr<const Rule>> rules) : rules_(std::move(rules)) {}

  absl::Status CheckEachMatches(const std::vector<std::string>& layers) const;
  absl::Status CheckEachDecides(const std::set<std::string>& deciding) const;
  absl::StatusOr<TensorChoice> Choose(const std::string& layer, Role role) const;

  std::vector<std::shared_ptr<const Rule>> rules_;
};

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_QUANTIZE_RULES_H_
