#ifndef LOWBIT_MIXED_PRECISION_CHOICE_H_
#define LOWBIT_MIXED_PRECISION_CHOICE_H_

// Which layer gets how many bits: a choice for each layer of a width for its weight and one for the tensor that it
// reads, as a knapsack problem whose losses are the KL divergences that a sensitivity step measured.

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "mixed_precision/pareto_front.h"
#include "model/graph.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"
#include "sensitivity/report.h"

namespace lowbit {

// Counts as so many bits in bit operations.
constexpr int kFloatBits = 32;

// What is to be chosen for. Maps by bits are empty where nothing is known yet: then losses are 0, or bytes.
struct BitsProblem {
  struct LayerToChoose {
    int layer = 0;     // its index
    int producer = 0;  // of the layer whose output it reads
    int64_t weights = 0;
    int64_t macs = 0;
    std::map<int, double> kl;      // with the weight alone at so many bits
    std::map<int, int64_t> bytes;  // of the weight, as WeightBytes counts
  };
  std::vector<LayerToChoose> layers;               // in the order of the network
  std::map<int, std::map<int, double>> tensor_kl;  // by producer: with the tensor alone at so many bits
  bool activations = false;                        // else they stay float
  int64_t other_bytes = 0;                         // of weights that are not to be chosen for
};

// Of these layers of the network, before anything was measured.
BitsProblem MakeBitsProblem(const Graph& graph, const std::vector<int>& layers, bool activations);
// Of what was measured. There must have been a quantizer for weights.
BitsProblem MakeBitsProblem(const Graph& graph, const SensitivityReport& report);

// What may be chosen.
struct BitsOptions {
  bool same = true;                  // a layer's weight and the tensor that it reads have one width
  std::vector<int> weight_bits;      // descending, each once
  std::vector<int> activation_bits;  // likewise; ignored with `same`
  std::map<int, int> kept;           // by layer: the width of weight and tensor
};

struct BitsAssignment {
  std::map<int, int> weights;      // by layer
  std::map<int, int> activations;  // by producer; empty where they stay float
};

// What has a budget.
enum class BitsCost {
  kWeightBits,     // the number of weights times their bits
  kWeightBytes,    // WeightBytes of the network, other_bytes included
  kBitOperations,  // multiply-accumulates times bits of the weight times bits of the activation
};

int64_t CostOf(const BitsProblem& problem, const BitsAssignment& assignment, BitsCost cost);

// The sum of the KLs, each weight and each tensor alone.
double KlOf(const BitsProblem& problem, const BitsAssignment& assignment);

// Mean bits of a weight.
double MeanWeightBits(const BitsProblem& problem, const BitsAssignment& assignment);

// All choices worth considering, by ascending cost and descending KL: exact (ParetoFront). Layers that read the same
// tensor share its width; with `same` so do their weights, and one that is kept keeps all of them.
class BitsFront {
 public:
  // InvalidArgument if layers that read one tensor are kept at different widths.
  static absl::StatusOr<BitsFront> Compute(const BitsProblem& problem, const BitsOptions& options, BitsCost cost,
                                           int64_t most_cost);

  int size() const { return front_.size(); }
  int64_t cost(int i) const { return front_.cost(i) + fixed_cost_; }
  double kl(int i) const { return front_.loss(i); }
  BitsAssignment Assignment(int i) const;

  // The least that any choice costs, above most_cost or not.
  int64_t least_cost() const { return least_cost_; }

 private:
  BitsFront(ParetoFront front, std::vector<std::vector<BitsAssignment>> options, int64_t fixed_cost, int64_t least_cost)
      : front_(std::move(front)), options_(std::move(options)), fixed_cost_(fixed_cost), least_cost_(least_cost) {}

  ParetoFront front_;
  std::vector<std::vector<BitsAssignment>> options_;  // of each group of layers that read one tensor
  int64_t fixed_cost_;
  int64_t least_cost_;
};

// One width for all but what is kept. With `same` tensors have it too; else the nearest of activation_bits that is not
// smaller, or the largest of them.
absl::StatusOr<BitsAssignment> UniformBits(const BitsProblem& problem, const BitsOptions& options, int bits);

// The network quantized so, from what the sensitivity step decided.
absl::StatusOr<QuantizedModel> QuantizeWith(const Model& model, const SensitivityReport& report,
                                            const BitsAssignment& assignment);

}  // namespace lowbit

#endif  // LOWBIT_MIXED_PRECISION_CHOICE_H_
