#include "mixed_precision/pareto_front.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

TEST(ParetoFrontTest, ByHand) {
  // Two layers of 10 and 20 weights at 4 or 2 bits.
  const KnapsackGroups groups = {{{40, 1}, {20, 5}}, {{80, 2}, {40, 4}}};
  const ParetoFront front = ParetoFront::Compute(groups);
  // 60: both at 2 bits, 9. 80: the second at 2 bits, 5. 100: the first at 2 bits loses 7 and is not worth it. 120: 3.
  ASSERT_EQ(front.size(), 3);
  EXPECT_EQ(front.cost(0), 60);
  EXPECT_EQ(front.loss(0), 9);
  EXPECT_THAT(front.Choice(0), ElementsAre(1, 1));
  EXPECT_EQ(front.cost(1), 80);
  EXPECT_EQ(front.loss(1), 5);
  EXPECT_THAT(front.Choice(1), ElementsAre(0, 1));
  EXPECT_EQ(front.cost(2), 120);
  EXPECT_THAT(front.Choice(2), ElementsAre(0, 0));
  EXPECT_EQ(LeastCost(groups), 60);
  EXPECT_EQ(ParetoFront::Compute(groups, 119).size(), 2);
  EXPECT_EQ(ParetoFront::Compute(groups, 59).size(), 0);
}

TEST(ParetoFrontTest, OfEqualChoicesTheEarlierOptionOfTheLastGroup) {
  // Two choices cost 3 and lose 3.
  const KnapsackGroups ties = {{{1, 2}, {2, 1}}, {{2, 1}, {1, 2}}};
  const ParetoFront tied = ParetoFront::Compute(ties);
  ASSERT_EQ(tied.size(), 3);
  EXPECT_EQ(tied.cost(1), 3);
  EXPECT_EQ(tied.loss(1), 3);
  EXPECT_THAT(tied.Choice(1), ElementsAre(0, 0));
}

// The least loss for each cost that some choice has.
std::map<int64_t, double> AllChoices(const KnapsackGroups& groups) {
  std::map<int64_t, double> best = {{0, 0}};
  for (const auto& group : groups) {
    std::map<int64_t, double> next;
    for (const auto& [cost, loss] : best) {
      for (const KnapsackOption& option : group) {
        const auto [entry, is_new] = next.emplace(cost + option.cost, loss + option.loss);
        if (!is_new) entry->second = std::min(entry->second, loss + option.loss);
      }
    }
    best = std::move(next);
  }
  return best;
}

// Every choice, one by one.
double BruteForce(const KnapsackGroups& groups, int64_t budget) {
  double best = std::numeric_limits<double>::infinity();
  const std::function<void(size_t, int64_t, double)> take = [&](size_t group, int64_t cost, double loss) {
    if (cost > budget) return;
    if (group == groups.size()) {
      best = std::min(best, loss);
      return;
    }
    for (const KnapsackOption& option : groups[group]) take(group + 1, cost + option.cost, loss + option.loss);
  };
  take(0, 0, 0);
  return best;
}

TEST(ParetoFrontTest, IsWhatBruteForceFindsAtEveryBudget) {
  Rng rng({2024});
  for (int instance = 0; instance < 300; ++instance) {
    KnapsackGroups groups(static_cast<size_t>(1 + rng.UniformInt(6)));
    for (auto& group : groups) {
      group.resize(static_cast<size_t>(1 + rng.UniformInt(4)));
      // Few different numbers, so that ties and dominated options are there; multiples of 1/8 add up exactly.
      for (KnapsackOption& option : group) {
        option = {rng.UniformInt(12), static_cast<double>(rng.UniformInt(40)) / 8};
      }
    }
    const std::map<int64_t, double> all = AllChoices(groups);
    const ParetoFront front = ParetoFront::Compute(groups);
    ASSERT_GT(front.size(), 0);
    EXPECT_EQ(front.cost(0), LeastCost(groups));
    for (int64_t budget = all.begin()->first; budget <= all.rbegin()->first; ++budget) {
      int best = 0;
      while (best + 1 < front.size() && front.cost(best + 1) <= budget) ++best;
      const double wanted = BruteForce(groups, budget);
      EXPECT_EQ(front.loss(best), wanted) << "instance " << instance << ", budget " << budget;
      // With a limit the same one comes last.
      const ParetoFront limited = ParetoFront::Compute(groups, budget);
      ASSERT_EQ(limited.size(), best + 1);
      EXPECT_EQ(limited.Choice(best), front.Choice(best));
      // And the choice has the cost and the loss that are said of it.
      int64_t cost = 0;
      double loss = 0;
      const std::vector<int> choice = front.Choice(best);
      for (size_t g = 0; g < groups.size(); ++g) {
        cost += groups[g][static_cast<size_t>(choice[g])].cost;
        loss += groups[g][static_cast<size_t>(choice[g])].loss;
      }
      EXPECT_EQ(cost, front.cost(best));
      EXPECT_EQ(loss, front.loss(best));
    }
  }
}

}  // namespace
}  // namespace lowbit
