#include "mixed_precision/pareto_front.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace lowbit {
namespace {

int64_t Cheapest(const std::vector<KnapsackOption>& group) {
  LOWBIT_CHECK(!group.empty(), "a group without options");
  return std::min_element(group.begin(), group.end(),
                          [](const KnapsackOption& a, const KnapsackOption& b) { return a.cost < b.cost; })
      ->cost;
}

}  // namespace

int64_t LeastCost(const KnapsackGroups& groups) {
  int64_t cost = 0;
  for (const auto& group : groups) cost += Cheapest(group);
  return cost;
}

ParetoFront ParetoFront::Compute(const KnapsackGroups& groups, int64_t most_cost) {
  ParetoFront front;
  front.stages_.push_back({{0, 0, -1, -1}});
  int64_t least_to_come = LeastCost(groups);
  for (const auto& group : groups) {
    least_to_come -= Cheapest(group);
    const std::vector<State>& before = front.stages_.back();
    std::vector<State> states;
    for (int option = 0; option < static_cast<int>(group.size()); ++option) {
      const KnapsackOption& taken = group[static_cast<size_t>(option)];
      for (int i = 0; i < static_cast<int>(before.size()); ++i) {
        const State& state = before[static_cast<size_t>(i)];
        const int64_t cost = state.cost + taken.cost;
        if (cost > most_cost - least_to_come) break;  // so do all after it
        states.push_back({cost, state.loss + taken.loss, option, i});
      }
    }
    std::sort(states.begin(), states.end(), [](const State& a, const State& b) {
      return std::tie(a.cost, a.loss, a.option, a.previous) < std::tie(b.cost, b.loss, b.option, b.previous);
    });
    std::vector<State> kept;
    for (const State& state : states) {
      if (kept.empty() || state.loss < kept.back().loss) kept.push_back(state);
    }
    front.stages_.push_back(std::move(kept));
  }
  return front;
}

std::vector<int> ParetoFront::Choice(int i) const {
  std::vector<int> choice(stages_.size() - 1);
  for (size_t stage = stages_.size() - 1; stage > 0; --stage) {
    const State& state = stages_[stage][static_cast<size_t>(i)];
    choice[stage - 1] = state.option;
    i = state.previous;
  }
  return choice;
}

}  // namespace lowbit
