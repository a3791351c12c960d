#ifndef LOWBIT_MIXED_PRECISION_PARETO_FRONT_H_
#define LOWBIT_MIXED_PRECISION_PARETO_FRONT_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace lowbit {

// The multiple-choice knapsack problem: of every group one option is taken; their costs, whole numbers, add up, and so
// do their losses.
struct KnapsackOption {
  int64_t cost = 0;  // at least 0
  double loss = 0;
};
using KnapsackGroups = std::vector<std::vector<KnapsackOption>>;

// All choices that are worth considering: those for which no other costs as little and loses less, or costs less and
// loses as little. Exact, by dynamic programming over the groups: after each, of the sums of costs and losses that its
// options and what came before make, those are dropped that are dominated (Nemhauser and Ullmann 1969, "Discrete
// dynamic programming and capital allocation"). There are at most as many as there are different sums of costs, so it
// takes no more than the table over all budgets would, and mostly far less.
class ParetoFront {
 public:
  // Every group has an option. Choices above `most_cost` are left out. Of choices with equal cost and loss, the one
  // with the earlier option in the last group in which they differ is kept.
  static ParetoFront Compute(const KnapsackGroups& groups, int64_t most_cost = std::numeric_limits<int64_t>::max());

  // By ascending cost and, strictly, descending loss. 0 only if nothing costs as little as most_cost.
  int size() const { return static_cast<int>(stages_.back().size()); }
  int64_t cost(int i) const { return stages_.back()[static_cast<size_t>(i)].cost; }
  double loss(int i) const { return stages_.back()[static_cast<size_t>(i)].loss; }

  // Which option of each group it is.
  std::vector<int> Choice(int i) const;

 private:
  // A choice for the groups up to one.
  struct State {
    int64_t cost;
    double loss;
    int option;    // of the last of these groups
    int previous;  // in the stage before
  };

  std::vector<std::vector<State>> stages_;  // the first one is for no group
};

// The least that all groups together can cost.
int64_t LeastCost(const KnapsackGroups& groups);

}  // namespace lowbit

#endif  // LOWBIT_MIXED_PRECISION_PARETO_FRONT_H_
