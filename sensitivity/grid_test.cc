#include "sensitivity/grid.h"

#include <ATen/ops/tensor.h>

#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

TEST(GridTest, OfOneTensor) {
  const QuantParams params{2, /*is_signed=*/false, {0.5f}, {1}, {}, {}};
  EXPECT_THAT(GridLevels(params), ElementsAre(-0.5f, 0, 0.5f, 1));
  const std::vector<GridRange> ranges = GridRanges(params);
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges[0].low, -0.5f);
  EXPECT_EQ(ranges[0].high, 1);
  // Half a step further.
  EXPECT_EQ(ranges[0].clip_low, -0.75);
  EXPECT_EQ(ranges[0].clip_high, 1.25);
  EXPECT_EQ(CountClipped(at::tensor({-0.8f, -0.75f, 0.0f, 1.25f, 1.3f, 9.0f}), ranges), 3);
}

TEST(GridTest, OfChannels) {
  const QuantParams params{2, /*is_signed=*/true, {1, 0.25f}, {0, 0}, {}, {}};
  const std::vector<GridRange> ranges = GridRanges(params);
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_EQ(ranges[0].low, -2);
  EXPECT_EQ(ranges[1].high, 0.25f);
  // 1 is a level of the first channel, and far beyond the second one's.
  EXPECT_EQ(CountClipped(at::tensor({1.0f, 0.0f, 1.0f, 0.0f}).view({2, 2}), ranges), 1);
  EXPECT_THAT(GridLevels(params), ElementsAre(-2, -1, 0, 1));
}

TEST(GridTest, OneBitAndSixteen) {
  const std::vector<GridRange> sign = GridRanges(SignParams({2}));
  EXPECT_EQ(sign[0].low, -2);
  EXPECT_EQ(sign[0].clip_high, 4);
  const QuantParams wide{16, /*is_signed=*/true, {0.5f}, {0}, {}, {}};
  EXPECT_EQ(GridRanges(wide)[0].low, -16384);
  EXPECT_EQ(GridRanges(wide)[0].clip_high, 16383.75);
  EXPECT_THAT(GridLevels(wide), testing::IsEmpty());
}

TEST(GridTest, BarsOfAHistogramHoldAllOfIt) {
  Histogram histogram;
  std::vector<float> values(100, 0.0f);
  for (int i = 1; i <= 400; ++i) values.push_back(static_cast<float>(i) / 100);
  histogram.GrowToHold(4);
  histogram.Add(values.data(), 500);
  const Bars bars = MakeBars(histogram, 0, 4, 4);
  EXPECT_EQ(bars.low, 0);
  EXPECT_EQ(bars.high, 4);
  ASSERT_EQ(bars.counts.size(), 4u);
  EXPECT_NEAR(static_cast<double>(bars.counts[0]), 200, 1);  // the zeros with it
  EXPECT_NEAR(static_cast<double>(bars.counts[2]), 100, 1);
  EXPECT_NEAR(static_cast<double>(std::accumulate(bars.counts.begin(), bars.counts.end(), int64_t{0})), 500, 2);
}

TEST(GridTest, BarsOfOneValueAreOne) {
  Histogram histogram;
  const std::vector<float> values(7, 0.5f);
  histogram.GrowToHold(0.5f);
  histogram.Add(values.data(), 7);
  EXPECT_THAT(MakeBars(histogram, 0.5f, 0.5f, 10).counts, ElementsAre(7));
}

TEST(GridTest, PlacesAreThoseInTheGridOfTheChannel) {
  const QuantParams params{2, /*is_signed=*/false, {1, 10}, {0, 0}, {}, {}};  // 0 to 3, and 0 to 30
  const at::Tensor weight = at::tensor({0.1f, 2.9f, 1.0f, 29.0f}).view({2, 2});
  const Bars bars = MakePlaceBars(weight, GridRanges(params), 4);
  EXPECT_EQ(bars.low, 0);
  EXPECT_EQ(bars.high, 1);
  EXPECT_THAT(bars.counts, ElementsAre(2, 0, 0, 2));
  // What is far beyond goes to the outermost bar.
  const Bars far = MakePlaceBars(at::tensor({0.0f, 1e30f, 0.0f, 0.0f}).view({2, 2}), GridRanges(params), 3);
  EXPECT_EQ(far.high, 1.5);
  EXPECT_THAT(far.counts, ElementsAre(3, 0, 1));
}

}  // namespace
}  // namespace lowbit
