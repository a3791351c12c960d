#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(MixKeysTest, EveryKeyTheirOrderAndTheirCountMatter) {
  const std::set<uint64_t> mixed = {MixKeys({}),        MixKeys({0}),           MixKeys({0, 0}), MixKeys({1}),
                                    MixKeys({1, 2}),    MixKeys({2, 1}),        MixKeys({1, 3}), MixKeys({1, 2, 0}),
                                    MixKeys({1, 2, 3}), MixKeys({~uint64_t{0}})};
  EXPECT_EQ(mixed.size(), 10u);
}

// Computed by an independent program from the published algorithms. Where these change, every seeded result of the
// project changes: initial weights, augmentations, samples.
TEST(RngTest, IsTheSameEverywhere) {
  Rng rng({2024, 7, 42});
  EXPECT_EQ(rng.Next(), uint64_t{7927675261716651425});
  EXPECT_EQ(rng.Uniform01(), 0x1.6a866f9447eedp-1);
  EXPECT_EQ(rng.UniformInt(1000), 174);
  EXPECT_EQ(rng.Normal(), -0x1.5dd8c9816d28ep-1);
  EXPECT_THAT(rng.Permutation(8), testing::ElementsAre(1, 7, 4, 5, 3, 0, 6, 2));
}

TEST(RngTest, SameKeysSameNumbers) {
  Rng a({1, 2}), b({1, 2}), c({2, 1});
  const uint64_t first = a.Next();
  EXPECT_EQ(first, b.Next());
  EXPECT_NE(first, c.Next());
}

TEST(RngTest, Uniform) {
  Rng rng({1});
  double sum = 0, least = 1, most = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.Uniform01();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
    least = std::min(least, x);
    most = std::max(most, x);
  }
  EXPECT_NEAR(sum / kCount, 0.5, 0.005);  // five standard deviations
  EXPECT_LT(least, 0.001);
  EXPECT_GT(most, 0.999);
  for (int i = 0; i < 100; ++i) {
    const double x = rng.Uniform(-3, 5);
    EXPECT_GE(x, -3);
    EXPECT_LE(x, 5);
  }
}

TEST(RngTest, UniformIntHitsEveryValueEquallyOften) {
  Rng rng({2});
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts.at(rng.UniformInt(7));
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  EXPECT_EQ(rng.UniformInt(1), 0);
}

TEST(RngTest, UniformIntHasNoBiasInAHugeRange) {
  // The remainder of 64 random bits alone would be in the lower third in 3/8 of the cases.
  Rng rng({3});
  const int64_t n = int64_t{3} << 61;
  int low = 0;
  for (int i = 0; i < 30000; ++i) low += rng.UniformInt(n) < (int64_t{1} << 61);
  EXPECT_NEAR(low, 10000, 410);
}

TEST(RngDeathTest, UniformIntOfNothing) { EXPECT_DEATH(Rng({1}).UniformInt(0), "UniformInt\\(0\\)"); }

TEST(RngTest, Bernoulli) {
  Rng rng({4});
  int count = 0;
  for (int i = 0; i < 10000; ++i) {
    count += rng.Bernoulli(0.3);
    EXPECT_FALSE(rng.Bernoulli(0));
    EXPECT_TRUE(rng.Bernoulli(1));
  }
  EXPECT_NEAR(count, 3000, 230);
}

TEST(RngTest, NormalHasTheMomentsAndTails) {
  Rng rng({5});
  constexpr int kCount = 400000;
  double sum = 0, sum2 = 0, sum3 = 0, sum4 = 0;
  int beyond_1 = 0, beyond_2 = 0, beyond_3 = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.Normal();
    sum += x;
    sum2 += x * x;
    sum3 += x * x * x;
    sum4 += x * x * x * x;
    beyond_1 += std::fabs(x) > 1;
    beyond_2 += std::fabs(x) > 2;
    beyond_3 += std::fabs(x) > 3;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.008);
  EXPECT_NEAR(sum2 / kCount, 1, 0.012);
  EXPECT_NEAR(sum3 / kCount, 0, 0.031);
  EXPECT_NEAR(sum4 / kCount, 3, 0.08);
  EXPECT_NEAR(beyond_1 / double{kCount}, 0.31731, 0.004);
  EXPECT_NEAR(beyond_2 / double{kCount}, 0.04550, 0.0017);
  EXPECT_NEAR(beyond_3 / double{kCount}, 0.00270, 0.0005);
}

TEST(RngTest, ShuffleReachesEveryOrderEquallyOften) {
  Rng rng({6});
  std::map<std::vector<int>, int> counts;
  for (int i = 0; i < 24000; ++i) {
    std::vector<int> values = {0, 1, 2, 3};
    rng.Shuffle(values);
    ++counts[values];
  }
  EXPECT_EQ(counts.size(), 24u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 160);
}

TEST(RngTest, PermutationHoldsEveryNumberOnce) {
  std::vector<int64_t> values = Rng({7}).Permutation(1000);
  EXPECT_FALSE(std::is_sorted(values.begin(), values.end()));
  std::sort(values.begin(), values.end());
  for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(values[i], i);
  EXPECT_TRUE(Rng({7}).Permutation(0).empty());
}

}  // namespace
}  // namespace lowbit
