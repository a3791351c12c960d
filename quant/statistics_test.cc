#include "quant/statistics.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

StatsRequest Everything() {
  StatsRequest request;
  request.min_max = request.moving_average = request.mean_abs = request.histogram = true;
  return request;
}

at::Tensor Random(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
  return x;
}

void ExpectSame(const TensorStatistics& a, const TensorStatistics& b) {
  EXPECT_EQ(a.images(), b.images());
  EXPECT_EQ(a.values(), b.values());
  EXPECT_EQ(a.min(), b.min());
  EXPECT_EQ(a.max(), b.max());
  EXPECT_FLOAT_EQ(a.moving_min(), b.moving_min());
  EXPECT_FLOAT_EQ(a.moving_max(), b.moving_max());
  EXPECT_DOUBLE_EQ(a.mean_abs(), b.mean_abs());
  EXPECT_EQ(a.histogram().exponent(), b.histogram().exponent());
  EXPECT_EQ(a.histogram().counts(), b.histogram().counts());
}

TEST(TensorStatisticsTest, HandComputed) {
  TensorStatistics statistics(Everything());
  // Image 0: -1 to 3, image 1: 0.5 to 2.
  ASSERT_TRUE(statistics.Observe(at::tensor({-1.0f, 3.0f, 0.5f, 2.0f}).view({2, 2})).ok());
  EXPECT_EQ(statistics.images(), 2);
  EXPECT_EQ(statistics.values(), 4);
  EXPECT_EQ(statistics.min(), -1);
  EXPECT_EQ(statistics.max(), 3);
  EXPECT_DOUBLE_EQ(statistics.mean_abs(), 6.5 / 4);
  // s = 0.01 x0, then s + 0.01 (x1 - s) = 0.0099 x0 + 0.01 x1, divided by 1 - 0.99^2 = 0.0199.
  EXPECT_FLOAT_EQ(statistics.moving_min(), static_cast<float>((0.0099 * -1 + 0.01 * 0.5) / 0.0199));
  EXPECT_FLOAT_EQ(statistics.moving_max(), static_cast<float>((0.0099 * 3 + 0.01 * 2) / 0.0199));
  // Range 4, so bins are 8 / 4096 wide: 512 for each 1.
  EXPECT_EQ(statistics.histogram().range(), 4);
  EXPECT_EQ(statistics.histogram().counts()[2048 - 512], 1);
  EXPECT_EQ(statistics.histogram().counts()[2048 + 256], 1);
  EXPECT_EQ(statistics.histogram().counts()[2048 + 1024], 1);
  EXPECT_EQ(statistics.histogram().counts()[2048 + 1536], 1);
}

TEST(TensorStatisticsTest, MovingAverageOfOneImageIsItsValue) {
  TensorStatistics statistics(Everything());
  ASSERT_TRUE(statistics.Observe(at::tensor({-1.5f, 3.25f}).view({1, 2})).ok());
  EXPECT_EQ(statistics.moving_min(), -1.5f);
  EXPECT_EQ(statistics.moving_max(), 3.25f);
}

TEST(TensorStatisticsTest, BatchSizesDoNotMatter) {
  const at::Tensor x = Random({24, 3, 5, 5}, 1) * at::tensor({1.0f, 100.0f, 0.01f}).view({1, 3, 1, 1});
  TensorStatistics whole(Everything());
  ASSERT_TRUE(whole.Observe(x).ok());
  for (const int64_t batch : {1, 5, 8}) {
    TensorStatistics parts(Everything());
    for (int64_t n = 0; n < 24; n += batch)
      ASSERT_TRUE(parts.Observe(x.slice(0, n, std::min<int64_t>(n + batch, 24))).ok());
    ExpectSame(whole, parts);
  }
}

TEST(TensorStatisticsTest, MergingIsObservingOnAfterTheOther) {
  const at::Tensor x = Random({30, 40}, 2);
  TensorStatistics whole(Everything());
  ASSERT_TRUE(whole.Observe(x).ok());
  TensorStatistics first(Everything());
  TensorStatistics second(Everything());
  TensorStatistics nothing(Everything());
  ASSERT_TRUE(first.Observe(x.slice(0, 0, 11)).ok());
  ASSERT_TRUE(second.Observe(x.slice(0, 11, 30)).ok());
  first.Merge(second);
  first.Merge(nothing);
  ExpectSame(whole, first);
  nothing.Merge(whole);
  ExpectSame(whole, nothing);
}

TEST(TensorStatisticsTest, ThreadsAndMemoryOrderDoNotMatter) {
  const at::Tensor x = Random({9, 4, 6, 6}, 3);
  at::set_num_threads(1);
  TensorStatistics one(Everything());
  ASSERT_TRUE(one.Observe(x).ok());
  at::set_num_threads(2);
  TensorStatistics two(Everything());
  ASSERT_TRUE(two.Observe(x).ok());
  ExpectSame(one, two);
  TensorStatistics channels_last(Everything());
  ASSERT_TRUE(channels_last.Observe(x.contiguous(at::MemoryFormat::ChannelsLast)).ok());
  ExpectSame(one, channels_last);
  TensorStatistics strided(Everything());
  ASSERT_TRUE(strided.Observe(at::cat({x, x}, 3).slice(3, 0, 6)).ok());
  ExpectSame(one, strided);
}

TEST(TensorStatisticsTest, RefusesWhatIsNotFiniteAndTakesNothingOver) {
  TensorStatistics statistics(Everything());
  ASSERT_TRUE(statistics.Observe(at::full({2, 3}, 1.0f)).ok());
  at::Tensor x = at::full({4, 3}, 5.0f);
  x[2][0] = std::numeric_limits<float>::quiet_NaN();
  x[3][1] = -std::numeric_limits<float>::infinity();
  const absl::Status status = statistics.Observe(x);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "2 of 12 values are NaN or infinite (first: image 2)");
  EXPECT_EQ(statistics.images(), 2);
  EXPECT_EQ(statistics.max(), 1);
}

TEST(TensorStatisticsTest, ZerosAndNoImages) {
  TensorStatistics statistics(Everything());
  ASSERT_TRUE(statistics.Observe(at::zeros({0, 3}, at::kFloat)).ok());
  EXPECT_EQ(statistics.images(), 0);
  ASSERT_TRUE(statistics.Observe(at::zeros({2, 3}, at::kFloat)).ok());
  EXPECT_EQ(statistics.min(), 0);
  EXPECT_EQ(statistics.max(), 0);
  EXPECT_EQ(statistics.mean_abs(), 0);
  EXPECT_EQ(statistics.histogram().counts()[2048], 6);
}

TEST(HistogramTest, GrowingPutsValuesWhereTheyBelong) {
  Rng rng({4});
  std::vector<float> values;
  for (int i = 0; i < 3000; ++i) {
    values.push_back(static_cast<float>(rng.Normal() * std::ldexp(1.0, static_cast<int>(rng.UniformInt(20)) - 15)));
  }
  for (const float edge : {0.0f, -0.0f, 1e-30f, -1e-30f, 0.25f, -0.25f}) values.push_back(edge);
  float largest = 0;
  for (const float x : values) largest = std::max(largest, std::fabs(x));

  Histogram grown;
  for (const float x : values) {
    grown.GrowToHold(std::fabs(x));
    grown.Add(&x, 1);
  }
  Histogram known;
  known.GrowToHold(largest);
  known.Add(values.data(), static_cast<int64_t>(values.size()));
  EXPECT_EQ(grown.exponent(), known.exponent());
  EXPECT_EQ(grown.counts(), known.counts());
  for (const float x : values) {
    const int bin = static_cast<int>(std::floor(static_cast<double>(x) / known.bin_width())) + Histogram::kBins / 2;
    EXPECT_LE(known.bin_lower(bin), x);
    EXPECT_GT(known.bin_lower(bin + 1), x);
    EXPECT_GT(known.counts()[static_cast<size_t>(bin)], 0);
  }
}

TEST(HistogramTest, RangeIsThePowerOfTwoAbove) {
  Histogram histogram;
  EXPECT_EQ(histogram.exponent(), -40);
  histogram.GrowToHold(0.75f);
  EXPECT_EQ(histogram.range(), 1);
  histogram.GrowToHold(1);
  EXPECT_EQ(histogram.range(), 2);
  histogram.GrowToHold(0.1f);
  EXPECT_EQ(histogram.range(), 2);
  histogram.GrowToHold(std::numeric_limits<float>::max());
  EXPECT_EQ(histogram.exponent(), 128);
}

TEST(HistogramTest, AHugeOutlierLeavesTheRestAroundZero) {
  Histogram histogram;
  histogram.GrowToHold(1);
  const float values[] = {0.5f, -0.5f};
  histogram.Add(values, 2);
  histogram.GrowToHold(1e30f);
  EXPECT_EQ(histogram.counts()[2048], 1);
  EXPECT_EQ(histogram.counts()[2047], 1);
}

TEST(HistogramTest, ZerosStandOutOfTheirBin) {
  Histogram histogram;
  histogram.GrowToHold(1);  // range 2, so bins are 1 / 1024 wide
  EXPECT_EQ(histogram.EstimatedZeros(), 0);
  const float values[] = {0, 0, 0, 0, 0.0005f, 0.0015f, 0.0015f, -0.0005f, 0.5f};
  histogram.Add(values, 9);
  EXPECT_EQ(histogram.EstimatedZeros(), 5 - 2) << "the bin above holds 2";
  for (int i = 0; i < 4; ++i) histogram.Add(&values[7], 1);
  EXPECT_EQ(histogram.EstimatedZeros(), 0) << "the bin below holds 5";
}

TEST(StatsRequestTest, MergesAndCovers) {
  StatsRequest a;
  EXPECT_TRUE(a.empty());
  a.min_max = true;
  StatsRequest b;
  b.histogram = true;
  EXPECT_FALSE(a.Covers(b));
  a.Merge(b);
  EXPECT_TRUE(a.min_max && a.histogram);
  EXPECT_FALSE(a.moving_average || a.mean_abs);
  EXPECT_TRUE(a.Covers(b));
  EXPECT_FALSE(b.Covers(a));
  EXPECT_TRUE(b.Covers(StatsRequest()));
}

TEST(TensorStatisticsDeathTest, WhatWasNotAskedForIsNotThere) {
  StatsRequest request;
  request.min_max = true;
  TensorStatistics statistics(request);
  EXPECT_DEATH(statistics.min(), "min and max were not gathered");
  ASSERT_TRUE(statistics.Observe(at::full({1, 1}, 2.0f)).ok());
  EXPECT_EQ(statistics.min(), 2);
  EXPECT_DEATH(statistics.mean_abs(), "mean magnitude was not gathered");
  EXPECT_DEATH(statistics.moving_max(), "moving averages were not gathered");
  EXPECT_DEATH(statistics.histogram(), "no histogram was gathered");
}

}  // namespace
}  // namespace lowbit
