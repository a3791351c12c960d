#include "tensorboard/histogram.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// From 0 to 30 in buckets of 0.5.
TEST(Histogram, CountsByHand) {
  const HistogramSummary summary = SummarizeValues({0, 0.4f, 0.5f, 30, 0.9f, 29.6f, 10});
  EXPECT_EQ(summary.min, 0);
  EXPECT_EQ(summary.max, 30);
  EXPECT_EQ(summary.count, 7);
  EXPECT_FLOAT_EQ(summary.sum, 71.4);
  EXPECT_FLOAT_EQ(summary.sum_squares, 0.16 + 0.25 + 900 + 0.81 + 876.16 + 100);
  // [0, 0.5): 0 and 0.4. [0.5, 1): 0.5 and 0.9. Nothing to 10. [10, 10.5): 10. Nothing to 29.5. [29.5, 30]: 29.6 and
  // 30.
  EXPECT_THAT(summary.limits, ElementsAre(0.5, 1, 10, 10.5, 29.5, 30));
  EXPECT_THAT(summary.counts, ElementsAre(2, 2, 0, 1, 0, 2));
}

TEST(Histogram, EveryBucketHasItsValue) {
  std::vector<float> values(60);
  std::iota(values.begin(), values.end(), -30.0f);  // -30 ... 29, buckets of 59 / 60
  const HistogramSummary summary = SummarizeValues(values);
  ASSERT_EQ(summary.limits.size(), 60u);
  EXPECT_THAT(summary.counts, testing::Each(1));
  EXPECT_DOUBLE_EQ(summary.limits[0], -30 + 59.0 / 60);
  EXPECT_EQ(summary.limits[59], 29);
}

TEST(Histogram, CountedValuesAreThatManyValues) {
  const HistogramSummary counted = SummarizeCounts({{-1.5, 3}, {2, 0}, {0.25, 2}, {1, 1}});
  const HistogramSummary single = SummarizeValues({-1.5f, -1.5f, -1.5f, 0.25f, 0.25f, 1});
  EXPECT_EQ(counted.max, 1);  // there is no 2
  EXPECT_EQ(counted.count, 6);
  EXPECT_EQ(counted.sum, -3);
  EXPECT_EQ(counted.limits, single.limits);
  EXPECT_EQ(counted.counts, single.counts);
}

TEST(Histogram, OneNumberOverAndOver) {
  const HistogramSummary summary = SummarizeValues({0.25f, 0.25f, 0.25f});
  EXPECT_EQ(summary.min, 0.25);
  EXPECT_EQ(summary.max, 0.25);
  EXPECT_THAT(summary.limits, ElementsAre(0.25));
  EXPECT_THAT(summary.counts, ElementsAre(3));
  EXPECT_THAT(SummarizeCounts({{5e-324, 1}, {0, 1}}).counts, ElementsAre(2));
}

TEST(Histogram, WhatIsNoNumberIsLeftOut) {
  const float infinity = std::numeric_limits<float>::infinity();
  const HistogramSummary summary = SummarizeValues({1, std::nanf(""), infinity, -infinity, 2});
  EXPECT_EQ(summary.count, 2);
  EXPECT_EQ(summary.sum, 3);
  EXPECT_THAT(summary.counts, ElementsAre(1, 0, 1));
}

TEST(Histogram, Nothing) {
  for (const HistogramSummary& summary : {SummarizeValues({}), SummarizeValues({std::nanf("")}), SummarizeCounts({})}) {
    EXPECT_EQ(summary.count, 0);
    EXPECT_THAT(summary.limits, IsEmpty());
  }
}

}  // namespace
}  // namespace lowbit
