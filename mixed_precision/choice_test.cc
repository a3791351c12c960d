#include "mixed_precision/choice.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::Pair;

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// Layers 1 and 2 read layer 0, layer 4 reads layer 3. Bytes: two weights of 4 bits each, and a scale.
BitsProblem ThreeLayers() {
  BitsProblem problem;
  problem.activations = true;
  problem.other_bytes = 1000;
  problem.layers = {
      {1, 0, 10, 100, {{8, 0.1}, {4, 1}, {2, 6}}, {{8, 14}, {4, 9}, {2, 7}}},
      {2, 0, 30, 50, {{8, 0.1}, {4, 2}, {2, 3}}, {{8, 34}, {4, 19}, {2, 12}}},
      {4, 3, 20, 10, {{8, 0.1}, {4, 0.5}, {2, 4}}, {{8, 24}, {4, 14}, {2, 9}}},
  };
  problem.tensor_kl = {{0, {{8, 0.25}, {4, 1}, {2, 8}}}, {3, {{8, 0.25}, {4, 0.5}, {2, 1}}}};
  return problem;
}

BitsOptions Options(bool same) {
  BitsOptions options;
  options.same = same;
  options.weight_bits = {8, 4, 2};
  options.activation_bits = {8, 4, 2};
  return options;
}

BitsFront Front(const BitsProblem& problem, const BitsOptions& options, BitsCost cost, int64_t most = kNoLimit) {
  auto front = BitsFront::Compute(problem, options, cost, most);
  EXPECT_TRUE(front.ok()) << front.status();
  return *std::move(front);
}

TEST(BitsFrontTest, ByHandWithOneWidthForAWeightAndItsTensor) {
  const BitsProblem problem = ThreeLayers();
  // Layers 1 and 2 together: 320 bits lose 0.45, 160 lose 4, 80 lose 17. Layer 4: 160 lose 0.35, 80 lose 1, 40 lose 5.
  const BitsFront front = Front(problem, Options(true), BitsCost::kWeightBits, 4 * 60);
  EXPECT_EQ(front.least_cost(), 120);
  const int best = front.size() - 1;
  EXPECT_EQ(front.cost(best), 240);
  EXPECT_EQ(front.kl(best), 5);
  const BitsAssignment bits = front.Assignment(best);
  EXPECT_THAT(bits.weights, ElementsAre(Pair(1, 4), Pair(2, 4), Pair(4, 4)));
  EXPECT_THAT(bits.activations, ElementsAre(Pair(0, 4), Pair(3, 4)));
  EXPECT_EQ(MeanWeightBits(problem, bits), 4);
  EXPECT_EQ(KlOf(problem, bits), 5);
}

TEST(BitsFrontTest, ByHandWithWidthsOfTheirOwn) {
  const BitsProblem problem = ThreeLayers();
  const BitsFront front = Front(problem, Options(false), BitsCost::kWeightBits, 4 * 60);
  // Tensors cost nothing, so they have 8 bits, together 0.5. Of the weights: 8, 2 and 4 bits cost 80 + 60 + 80 and lose
  // 0.1 + 3 + 0.5; 4, 4 and 4 lose 3.5 for 240.
  const BitsAssignment bits = front.Assignment(front.size() - 1);
  EXPECT_THAT(bits.weights, ElementsAre(Pair(1, 4), Pair(2, 4), Pair(4, 4)));
  EXPECT_THAT(bits.activations, ElementsAre(Pair(0, 8), Pair(3, 8)));
  EXPECT_EQ(front.cost(front.size() - 2), 220);
  EXPECT_THAT(front.Assignment(front.size() - 2).weights, ElementsAre(Pair(1, 8), Pair(2, 2), Pair(4, 4)));
}

TEST(BitsFrontTest, WhatItSaysOfAChoiceIsWhatTheChoiceCostsAndLoses) {
  const BitsProblem problem = ThreeLayers();
  for (const bool same : {true, false}) {
    for (const BitsCost cost : {BitsCost::kWeightBits, BitsCost::kWeightBytes, BitsCost::kBitOperations}) {
      const BitsFront front = Front(problem, Options(same), cost);
      ASSERT_GT(front.size(), 2);
      EXPECT_EQ(front.least_cost(), front.cost(0));
      for (int i = 0; i < front.size(); ++i) {
        EXPECT_EQ(front.cost(i), CostOf(problem, front.Assignment(i), cost));
        EXPECT_NEAR(front.kl(i), KlOf(problem, front.Assignment(i)), 1e-12);
      }
    }
  }
}

// Every choice of six widths, one by one.
TEST(BitsFrontTest, BitOperationsAreWhatBruteForceFinds) {
  const BitsProblem problem = ThreeLayers();
  const BitsFront front = Front(problem, Options(false), BitsCost::kBitOperations);
  const std::vector<int> widths = {8, 4, 2};
  for (const int64_t budget : {700, 1500, 2500, 4000, 8000}) {
    double best = std::numeric_limits<double>::infinity();
    for (const int w1 : widths) {
      for (const int w2 : widths) {
        for (const int w4 : widths) {
          for (const int a0 : widths) {
            for (const int a3 : widths) {
              if (100 * w1 * a0 + 50 * w2 * a0 + 10 * w4 * a3 > budget) continue;
              best = std::min(best, KlOf(problem, {{{1, w1}, {2, w2}, {4, w4}}, {{0, a0}, {3, a3}}}));
            }
          }
        }
      }
    }
    int chosen = -1;
    while (chosen + 1 < front.size() && front.cost(chosen + 1) <= budget) ++chosen;
    ASSERT_GE(chosen, 0);
    EXPECT_NEAR(front.kl(chosen), best, 1e-12) << budget;
  }
}

TEST(BitsFrontTest, WhatIsKeptIsKept) {
  const BitsProblem problem = ThreeLayers();
  BitsOptions options = Options(true);
  options.kept = {{2, 8}};
  // With one width for all, layer 1 reads the same tensor and is kept with it.
  const BitsFront same = Front(problem, options, BitsCost::kWeightBits);
  for (int i = 0; i < same.size(); ++i) {
    EXPECT_EQ(same.Assignment(i).weights.at(1), 8);
    EXPECT_EQ(same.Assignment(i).activations.at(0), 8);
  }
  options.same = false;
  const BitsAssignment least = Front(problem, options, BitsCost::kBitOperations).Assignment(0);
  EXPECT_THAT(least.weights, ElementsAre(Pair(1, 2), Pair(2, 8), Pair(4, 2)));
  EXPECT_THAT(least.activations, ElementsAre(Pair(0, 8), Pair(3, 2)));
  options.kept = {{1, 4}, {2, 8}};
  EXPECT_EQ(BitsFront::Compute(problem, options, BitsCost::kWeightBits, kNoLimit).status().message(),
            "layers that read the same tensor are kept at 4 and at 8 bits");
}

TEST(BitsFrontTest, FloatActivationsLeaveEachWeightItsOwnWidth) {
  BitsProblem problem = ThreeLayers();
  problem.activations = false;
  problem.tensor_kl.clear();
  const BitsFront front = Front(problem, Options(true), BitsCost::kWeightBits, 220);
  const BitsAssignment bits = front.Assignment(front.size() - 1);
  EXPECT_THAT(bits.weights, ElementsAre(Pair(1, 8), Pair(2, 2), Pair(4, 4)));
  EXPECT_TRUE(bits.activations.empty());
  EXPECT_EQ(CostOf(problem, bits, BitsCost::kBitOperations), 32 * (100 * 8 + 50 * 2 + 10 * 4));
}

TEST(BitsFrontTest, NothingIsCheapEnough) {
  const BitsFront front = Front(ThreeLayers(), Options(true), BitsCost::kWeightBytes, 1027);
  EXPECT_EQ(front.size(), 0);
  EXPECT_EQ(front.least_cost(), 1028);
}

TEST(UniformBitsTest, TensorsHaveTheNearestWidthThatIsNotSmaller) {
  const BitsProblem problem = ThreeLayers();
  BitsOptions options = Options(false);
  options.activation_bits = {8, 4};
  options.kept = {{4, 8}};
  const auto two = UniformBits(problem, options, 2);
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_THAT(two->weights, ElementsAre(Pair(1, 2), Pair(2, 2), Pair(4, 8)));
  EXPECT_THAT(two->activations, ElementsAre(Pair(0, 4), Pair(3, 8)));
  options.activation_bits = {4};
  EXPECT_EQ(UniformBits(problem, options, 8)->activations.at(0), 4);
}

TEST(BitsProblemTest, CountsWhatTheNetworkHas) {
  Conv2d conv;
  conv.in_channels = 3;
  conv.out_channels = 4;
  conv.kernel = {3, 3};
  const auto graph = Graph::Create({{"input", Input{3, 5, 5}, {}},
                                    {"conv", conv, {0}},
                                    {"flatten", Flatten{}, {1}},
                                    {"fc", Linear{36, 2, true}, {2}}});
  ASSERT_TRUE(graph.ok()) << graph.status();
  const BitsProblem problem = MakeBitsProblem(*graph, {1}, true);
  ASSERT_EQ(problem.layers.size(), 1u);
  EXPECT_EQ(problem.layers[0].weights, 4 * 3 * 9);
  EXPECT_EQ(problem.layers[0].macs, 4 * 3 * 9 * 9);
  EXPECT_EQ(problem.other_bytes, 4 * 36 * 2);  // the linear layer stays float
}

}  // namespace
}  // namespace lowbit
