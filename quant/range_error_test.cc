#include "quant/range_error.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/random.h"
#include "gtest/gtest.h"
#include "quant/affine.h"
#include "quant/channel_grid.h"
#include "quant/quant_params.h"

namespace lowbit {
namespace {

TensorStatistics Observe(const std::vector<float>& values) {
  StatsRequest request;
  request.min_max = request.histogram = true;
  TensorStatistics statistics(request);
  EXPECT_TRUE(statistics.Observe(at::tensor(values).view({1, -1})).ok());
  return statistics;
}

Range Extremes(const TensorStatistics& statistics) {
  return Range{std::min(statistics.min(), 0.0f), std::max(statistics.max(), 0.0f)};
}

std::vector<float> Normal(int count, double shift, bool relu) {
  Rng rng({7});
  std::vector<float> values;
  for (int i = 0; i < count; ++i) {
    const float x = static_cast<float>(rng.Normal() + shift);
    values.push_back(relu ? std::max(x, 0.0f) : x);
  }
  return values;
}

// The sum as it is defined, by the specification of the arithmetic.
double SlowError(const std::vector<float>& values, const Grid& grid, double p, double unit) {
  double sum = 0;
  for (const float x : values) {
    const double d = x - FakeQuantizeValue(x, grid.scale, grid.zero_point, grid.qmin, grid.qmax);
    sum += std::pow(std::fabs(d) / unit, p);
  }
  return sum / static_cast<double>(values.size());
}

// Codes at 0, 1, 2, 3: the values are off by 0.25, 0.5 and, beyond the last code, 2.
TEST(RangeErrorTest, HandComputed) {
  const Grid grid = MakeGrid({0, 3}, false, 2);
  const std::vector<float> values = {1.25f, 0.5f, 5};
  EXPECT_DOUBLE_EQ(GridError(values, grid, 2, 1), (0.0625 + 0.25 + 4) / 3);
  EXPECT_DOUBLE_EQ(GridError(values, grid, 2, 2), (0.0625 + 0.25 + 4) / 3 / 4);
  EXPECT_NEAR(GridError(values, grid, 3, 1), (0.015625 + 0.125 + 8) / 3, 1e-6);
}

TEST(RangeErrorTest, OfValuesAsDefined) {
  const std::vector<float> values = Normal(3000, 0.3, false);
  for (const int bits : {2, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      const Grid grid = MakeGrid({-1.5f, 2.5f}, symmetric, bits);
      for (const double p : {1.0, 2.0, 2.4}) {
        const double expected = SlowError(values, grid, p, 4);
        EXPECT_NEAR(GridError(values, grid, p, 4), expected, 1e-5 * expected) << bits << " bits, p = " << p;
      }
    }
  }
}

// Even one value in a bin, spread over it, is the mean of many copies of it in that bin.
TEST(RangeErrorTest, OfAHistogramIsTheMeanOverItsBins) {
  const TensorStatistics statistics = Observe({-0.7f, 0.31f, 1.9f, 1.9f, 0.62f});
  const Range extremes = Extremes(statistics);
  const Histogram& histogram = statistics.histogram();
  std::vector<float> spread;
  for (int i = 0; i < Histogram::kBins; ++i) {
    for (int64_t n = 0; n < histogram.counts()[static_cast<size_t>(i)]; ++n) {
      const double from = std::max(histogram.bin_lower(i), static_cast<double>(extremes.lo));
      const double to = std::min(histogram.bin_lower(i + 1), static_cast<double>(extremes.hi));
      for (int k = 0; k < 4000; ++k) spread.push_back(static_cast<float>(from + (to - from) * (k + 0.5) / 4000));
    }
  }
  for (const int bits : {2, 4, 8, 16}) {
    const Grid grid = MakeGrid({-0.5f, 1.25f}, false, bits);
    for (const double p : {2.0, 2.4}) {
      const double expected = SlowError(spread, grid, p, 2);
      EXPECT_NEAR(GridError(histogram, extremes, grid, p, 2), expected, 1e-4 * expected) << bits << " bits, p = " << p;
    }
  }
}

TEST(RangeErrorTest, OfAHistogramIsCloseToThatOfItsValues) {
  for (const bool relu : {false, true}) {
    const std::vector<float> values = Normal(50000, 0.2, relu);
    const TensorStatistics statistics = Observe(values);
    for (const int bits : {2, 4, 8}) {
      for (const double part : {0.4, 0.7, 1.0}) {
        const Grid grid = MakeGrid(Scaled(Extremes(statistics), part), false, bits);
        const double expected = SlowError(values, grid, 2.4, 4);
        EXPECT_NEAR(GridError(statistics.histogram(), Extremes(statistics), grid, 2.4, 4), expected, 0.06 * expected)
            << bits << " bits, " << part << " of the range, ReLU " << relu;
      }
    }
  }
}

QuantParams Levels(std::vector<int32_t> levels) {
  QuantParams params;
  params.bits = 3;
  params.scale = {0.5f};
  params.zero_point = {0};
  params.levels = std::move(levels);
  return params;
}

// Values at -2, -0.5, 0, 0.5 and 2: the values are off by 0.25, 0.5 and, beyond the last one, 3.
TEST(RangeErrorTest, OfAnyGridHandComputed) {
  const QuantParams params = Levels({-4, -1, 0, 1, 4});
  const ChannelGrid grid(params, 0);
  const std::vector<float> values = {0.75f, 1.5f, 5};
  EXPECT_DOUBLE_EQ(GridError(values, grid, 2, 1), (0.0625 + 0.25 + 9) / 3);
  EXPECT_DOUBLE_EQ(GridError(values, grid, 2, 2), (0.0625 + 0.25 + 9) / 3 / 4);
  EXPECT_NEAR(GridError(values, grid, 3, 1), (0.015625 + 0.125 + 27) / 3, 1e-6);
}

// -0.75 and 0.75, so that three zeros are off by 0.75; the 1, the largest value of its bin, by 0.25.
TEST(RangeErrorTest, OfAnyGridAndAHistogramHandComputed) {
  const TensorStatistics statistics = Observe({0, 0, 0, 1});
  const QuantParams params = SignParams({0.75f});
  EXPECT_NEAR(GridError(statistics.histogram(), {0, 1}, ChannelGrid(params, 0), 2, 1), (3 * 0.5625 + 0.0625) / 4,
              1e-12);
  EXPECT_NEAR(GridError(statistics.histogram(), {0, 1}, ChannelGrid(params, 0), 3, 0.5),
              8 * (3 * 0.421875 + 0.015625) / 4, 1e-12);
}

TEST(RangeErrorTest, OfAnyGridOnAUniformOne) {
  const std::vector<float> values = Normal(3000, 0.3, true);
  const TensorStatistics statistics = Observe(values);
  for (const int bits : {2, 4, 8}) {
    const Grid grid = MakeGrid({-1.5f, 2.5f}, false, bits);
    QuantParams params;
    params.bits = bits;
    params.is_signed = false;
    params.scale = {grid.scale};
    params.zero_point = {grid.zero_point};
    const ChannelGrid channel(params, 0);
    EXPECT_EQ(GridError(values, channel, 2.4, 4), GridError(values, grid, 2.4, 4)) << bits;
    // Middles in place of integrals; bins are 1/128 of a step of 4 bits.
    const double expected = GridError(statistics.histogram(), Extremes(statistics), grid, 2.4, 4);
    EXPECT_NEAR(GridError(statistics.histogram(), Extremes(statistics), channel, 2.4, 4), expected, 0.03 * expected)
        << bits;
  }
}

TEST(RangeErrorTest, Nothing) {
  EXPECT_EQ(GridError(std::vector<float>(), MakeGrid({0, 1}, false, 4), 2, 1), 0);
  EXPECT_EQ(GridError(Histogram(), {0, 1}, MakeGrid({0, 1}, false, 4), 2, 1), 0);
  const QuantParams params = Levels({0, 1});
  EXPECT_EQ(GridError(std::vector<float>(), ChannelGrid(params, 0), 2, 1), 0);
  EXPECT_EQ(GridError(Histogram(), {0, 1}, ChannelGrid(params, 0), 2, 1), 0);
}

}  // namespace
}  // namespace lowbit
