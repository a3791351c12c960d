#include "mixed_precision/choice.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

using LayerToChoose = BitsProblem::LayerToChoose;

// 0 where nothing is known.
template <typename T>
T Known(const std::map<int, T>& values, int bits) {
  const auto value = values.find(bits);
  return value == values.end() ? T() : value->second;
}

// Whether a tensor's width is that of the weights of its readers. There is none to have where tensors stay float.
bool Same(const BitsProblem& problem, const BitsOptions& options) { return options.same && problem.activations; }

// Layers that read one tensor, whose width they share.
struct Sharing {
  int producer = 0;
  std::vector<const LayerToChoose*> layers;
  int kept = 0;  // the tensor's width if a layer's is kept, else 0
};

absl::StatusOr<std::vector<Sharing>> ByTensor(const BitsProblem& problem, const BitsOptions& options) {
  std::vector<Sharing> groups;
  for (const LayerToChoose& layer : problem.layers) {
    const auto same = std::find_if(groups.begin(), groups.end(),
                                   [&](const Sharing& group) { return group.producer == layer.producer; });
    Sharing& group = same != groups.end() ? *same : groups.emplace_back();
    group.producer = layer.producer;
    group.layers.push_back(&layer);
    const int kept = Known(options.kept, layer.layer);
    if (kept == 0) continue;
    if (problem.activations && group.kept != 0 && group.kept != kept) {
      return absl::InvalidArgumentError(
          absl::StrCat("layers that read the same tensor are kept at ", group.kept, " and at ", kept, " bits"));
    }
    group.kept = kept;
  }
  return groups;
}

// One layer's part.
int64_t LayerCost(const LayerToChoose& layer, int weight_bits, int activation_bits, BitsCost cost) {
  switch (cost) {
    case BitsCost::kWeightBits:
      return layer.weights * weight_bits;
    case BitsCost::kWeightBytes:
      return Known(layer.bytes, weight_bits);
    case BitsCost::kBitOperations:
      return layer.macs * weight_bits * (activation_bits == 0 ? kFloatBits : activation_bits);
  }
  return 0;
}

// A choice for a group, as it grows layer by layer.
struct Option {
  KnapsackOption sums;
  BitsAssignment bits;
};

// Drops what is dominated: a choice for the group that is no good is none for the network either.
std::vector<Option> Undominated(std::vector<Option> options) {
  std::stable_sort(options.begin(), options.end(), [](const Option& a, const Option& b) {
    return a.sums.cost != b.sums.cost ? a.sums.cost < b.sums.cost : a.sums.loss < b.sums.loss;
  });
  std::vector<Option> kept;
  for (Option& option : options) {
    if (kept.empty() || option.sums.loss < kept.back().sums.loss) kept.push_back(std::move(option));
  }
  return kept;
}

// All choices worth considering for a group whose tensor has `activation_bits` (0: it stays float). `same_bits`, if not
// 0, is the width of the weights too.
std::vector<Option> OptionsOf(const BitsProblem& problem, const BitsOptions& options, const Sharing& group,
                              int activation_bits, int same_bits, BitsCost cost) {
  Option start;
  if (activation_bits != 0) {
    start.bits.activations[group.producer] = activation_bits;
    const auto kl = problem.tensor_kl.find(group.producer);
    if (kl != problem.tensor_kl.end()) start.sums.loss = Known(kl->second, activation_bits);
  }
  std::vector<Option> found = {start};
  for (const LayerToChoose* layer : group.layers) {
    std::vector<int> widths = options.weight_bits;
    const int kept = Known(options.kept, layer->layer);
    if (kept != 0) widths = {kept};
    if (same_bits != 0) widths = {same_bits};
    std::vector<Option> next;
    for (const int bits : widths) {
      for (const Option& before : found) {
        Option option = before;
        option.sums.cost += LayerCost(*layer, bits, activation_bits, cost);
        option.sums.loss += Known(layer->kl, bits);
        option.bits.weights[layer->layer] = bits;
        next.push_back(std::move(option));
      }
    }
    found = Undominated(std::move(next));
  }
  return found;
}

std::vector<Option> OptionsOf(const BitsProblem& problem, const BitsOptions& options, const Sharing& group,
                              BitsCost cost) {
  std::vector<Option> all;
  const auto add = [&](int activation_bits, int same_bits) {
    for (Option& option : OptionsOf(problem, options, group, activation_bits, same_bits, cost)) {
      all.push_back(std::move(option));
    }
  };
  const bool same = Same(problem, options);
  std::vector<int> widths = same ? options.weight_bits : options.activation_bits;
  if (group.kept != 0) widths = {group.kept};
  if (!problem.activations) widths = {0};
  for (const int bits : widths) add(bits, same ? bits : 0);
  return all;
}

}  // namespace

BitsProblem MakeBitsProblem(const Graph& graph, const std::vector<int>& layers, bool activations) {
  BitsProblem problem;
  problem.activations = activations;
  problem.other_bytes = FloatWeightBytes(graph);
  for (const int index : layers) {
    const Layer& layer = graph.layer(index);
    LayerToChoose choose;
    choose.layer = index;
    choose.producer = layer.inputs.front();
    choose.weights = 1;
    const Shape shape = ParameterShapes(layer.op).at("weight");
    for (const int64_t extent : shape) choose.weights *= extent;
    choose.macs = Macs(layer.op, graph.output_shape(index));
    problem.other_bytes -= choose.weights * static_cast<int64_t>(sizeof(float));
    problem.layers.push_back(std::move(choose));
  }
  return problem;
}

BitsProblem MakeBitsProblem(const Graph& graph, const SensitivityReport& report) {
  std::vector<int> layers;
  for (const LayerSensitivity& layer : report.layers) layers.push_back(layer.layer);
  BitsProblem problem = MakeBitsProblem(graph, layers, !report.activation_quantizer.empty());
  for (size_t i = 0; i < layers.size(); ++i) {
    LayerToChoose& choose = problem.layers[i];
    for (const LayerAtWidth& width : report.layers[i].widths) {
      LOWBIT_CHECK(width.weight_alone.has_value(), "weights were not measured");
      choose.kl[width.bits] = width.weight_alone->kl;
      if (problem.activations) problem.tensor_kl[choose.producer][width.bits] = width.activation_alone->kl;
      // The bytes of a network that has only this weight packed, less those of all others in float.
      QuantizedModel alone{graph, {}, {}, {}, {}};
      alone.weights[report.layers[i].name] = report.packed.at({choose.layer, width.bits});
      choose.bytes[width.bits] =
          WeightBytes(alone) - FloatWeightBytes(graph) + choose.weights * static_cast<int64_t>(sizeof(float));
    }
  }
  return problem;
}

int64_t CostOf(const BitsProblem& problem, const BitsAssignment& assignment, BitsCost cost) {
  int64_t sum = cost == BitsCost::kWeightBytes ? problem.other_bytes : 0;
  for (const LayerToChoose& layer : problem.layers) {
    sum += LayerCost(layer, assignment.weights.at(layer.layer), Known(assignment.activations, layer.producer), cost);
  }
  return sum;
}

double KlOf(const BitsProblem& problem, const BitsAssignment& assignment) {
  double sum = 0;
  for (const LayerToChoose& layer : problem.layers) sum += Known(layer.kl, assignment.weights.at(layer.layer));
  for (const auto& [producer, bits] : assignment.activations) {
    const auto kl = problem.tensor_kl.find(producer);
    if (kl != problem.tensor_kl.end()) sum += Known(kl->second, bits);
  }
  return sum;
}

double MeanWeightBits(const BitsProblem& problem, const BitsAssignment& assignment) {
  int64_t weights = 0;
  for (const LayerToChoose& layer : problem.layers) weights += layer.weights;
  return static_cast<double>(CostOf(problem, assignment, BitsCost::kWeightBits)) / static_cast<double>(weights);
}

absl::StatusOr<BitsFront> BitsFront::Compute(const BitsProblem& problem, const BitsOptions& options, BitsCost cost,
                                             int64_t most_cost) {
  LOWBIT_ASSIGN_OR_RETURN(const std::vector<Sharing> sharing, ByTensor(problem, options));
  KnapsackGroups groups;
  std::vector<std::vector<BitsAssignment>> assignments;
  for (const Sharing& group : sharing) {
    groups.emplace_back();
    assignments.emplace_back();
    for (const Option& option : OptionsOf(problem, options, group, cost)) {
      groups.back().push_back(option.sums);
      assignments.back().push_back(option.bits);
    }
  }
  const int64_t fixed = cost == BitsCost::kWeightBytes ? problem.other_bytes : 0;
  return BitsFront(ParetoFront::Compute(groups, most_cost - fixed), std::move(assignments), fixed,
                   LeastCost(groups) + fixed);
}

BitsAssignment BitsFront::Assignment(int i) const {
  BitsAssignment all;
  const std::vector<int> choice = front_.Choice(i);
  for (size_t group = 0; group < choice.size(); ++group) {
    const BitsAssignment& part = options_[group][static_cast<size_t>(choice[group])];
    all.weights.insert(part.weights.begin(), part.weights.end());
    all.activations.insert(part.activations.begin(), part.activations.end());
  }
  return all;
}

absl::StatusOr<BitsAssignment> UniformBits(const BitsProblem& problem, const BitsOptions& options, int bits) {
  LOWBIT_ASSIGN_OR_RETURN(const std::vector<Sharing> sharing, ByTensor(problem, options));
  int activation = bits;
  if (!options.same && problem.activations) {
    activation = options.activation_bits.front();
    for (const int width : options.activation_bits) {
      if (width >= bits) activation = width;
    }
  }
  BitsAssignment uniform;
  for (const Sharing& group : sharing) {
    for (const LayerToChoose* layer : group.layers) {
      const int kept = Same(problem, options) ? group.kept : Known(options.kept, layer->layer);
      uniform.weights[layer->layer] = kept != 0 ? kept : bits;
    }
    if (problem.activations) uniform.activations[group.producer] = group.kept != 0 ? group.kept : activation;
  }
  return uniform;
}

absl::StatusOr<QuantizedModel> QuantizeWith(const Model& model, const SensitivityReport& report,
                                            const BitsAssignment& assignment) {
  LOWBIT_ASSIGN_OR_RETURN(QuantizedModel quantized, ToQuantizedModel(model));
  for (const auto& [layer, bits] : assignment.weights) {
    const std::string& name = model.graph.layer(layer).name;
    quantized.weights[name] = report.packed.at({layer, bits});
    quantized.parameters.erase(ParameterName(name, "weight"));
  }
  for (const auto& [producer, bits] : assignment.activations) {
    quantized.activations[model.graph.layer(producer).name] = report.params.at({producer, bits});
  }
  return quantized;
}

}  // namespace lowbit
