#include "torch_int8/histogram_observer.h"

#include <ATen/ops/from_blob.h>

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TensorStatistics Observe(std::vector<float> values) {
  StatsRequest request;
  request.min_max = true;
  request.histogram = true;
  TensorStatistics statistics(request);
  EXPECT_TRUE(statistics.Observe(at::from_blob(values.data(), {1, static_cast<int64_t>(values.size())})).ok());
  return statistics;
}

// The values at n equally spaced quantiles.
template <typename Quantile>
std::vector<float> Spread(Quantile&& quantile, int n = 2000000) {
  std::vector<float> values;
  for (int i = 0; i < n; ++i) values.push_back(static_cast<float>(quantile((i + 0.5) / n)));
  return values;
}

double Exponential(double u) { return -std::log(1 - u); }
double Laplace(double u) { return u < 0.5 ? std::log(2 * u) : -std::log(2 * (1 - u)); }

// The numbers beside these are what torch.ao.quantization.HistogramObserver of PyTorch 1.13 says for the same values;
// its bins are others, so the search ends a little earlier or later.
constexpr double kTolerance = 0.06;

TEST(Quint8Params, OfAOneSidedTail) {
  const QuantParams params = Quint8Params(Observe(Spread(Exponential)), /*reduce_range=*/false);
  EXPECT_NEAR(params.scale[0], 0.042936, kTolerance * 0.042936);
  EXPECT_EQ(params.zero_point[0], 0);
  EXPECT_EQ(params.bits, 8);
  EXPECT_FALSE(params.is_signed);
  EXPECT_TRUE(params.Validate().ok());
}

TEST(Quint8Params, ReducedUseHalfTheCodes) {
  const QuantParams params = Quint8Params(Observe(Spread(Exponential)), /*reduce_range=*/true);
  EXPECT_NEAR(params.scale[0], 0.086209, kTolerance * 0.086209);
}

TEST(Quint8Params, OfTwoTails) {
  const QuantParams params = Quint8Params(Observe(Spread(Laplace)), false);
  EXPECT_NEAR(params.scale[0], 0.078955, kTolerance * 0.078955);
  EXPECT_NEAR(params.zero_point[0], 128, 4);
}

TEST(Quint8Params, OfEvenlySpreadValuesCoverThemAll) {
  const QuantParams params = Quint8Params(Observe(Spread([](double u) { return 6 * u - 2; })), false);
  EXPECT_NEAR(params.scale[0], 6.0 / 255, 0.002 * 6 / 255);
  EXPECT_EQ(params.zero_point[0], 85);
}

TEST(Quint8Params, HoldZeroWhereNoValueIsNearIt) {
  const QuantParams params = Quint8Params(Observe({2, 3, 4}), false);
  EXPECT_EQ(params.zero_point[0], 0);
  EXPECT_NEAR(params.scale[0], 4.0 / 255, 1e-4);
  const QuantParams negative = Quint8Params(Observe({-2, -3, -4}), false);
  EXPECT_EQ(negative.zero_point[0], 255);
}

TEST(Quint8Params, OfNothingButZeroAreValid) {
  const QuantParams params = Quint8Params(Observe({0, 0, 0}), false);
  EXPECT_GT(params.scale[0], 0);
  EXPECT_EQ(params.zero_point[0], 0);
  EXPECT_TRUE(params.Validate().ok());
}

TEST(Quint8Params, OfOneHugeOutlierAreFinite) {
  std::vector<float> values = Spread(Laplace, 1000);
  values.push_back(1e30f);
  EXPECT_TRUE(Quint8Params(Observe(values), false).Validate().ok());
}

// What is given up is worth it: hardly ever more squared error, on the values themselves, than with the whole range.
TEST(SearchRange, DoesNoHarm) {
  const auto error = [](const std::vector<float>& values, const ValueRange& range) {
    const double cell = (range.max - range.min) / 256;
    double sum = 0;
    for (const double x : values) {
      const double k = std::min(255.0, std::max(0.0, std::floor((x - range.min) / cell)));
      sum += std::pow(x - (range.min + (k + 0.5) * cell), 2);
    }
    return sum;
  };
  for (unsigned seed = 1; seed <= 5; ++seed) {
    std::mt19937 random(seed);
    std::student_t_distribution<double> heavy_tailed(4);
    std::vector<float> values(20000);
    for (float& x : values) x = static_cast<float>(heavy_tailed(random));
    const TensorStatistics statistics = Observe(values);
    const ValueRange found = SearchRange(statistics.histogram(), statistics.min(), statistics.max(), 256);
    const ValueRange whole{statistics.min(), statistics.max()};
    EXPECT_LT(found.max - found.min, whole.max - whole.min) << "seed " << seed;
    EXPECT_LT(error(values, found), 1.01 * error(values, whole)) << "seed " << seed;
  }
}

TEST(SearchRange, OfOneValueIsThatValue) {
  const ValueRange range = SearchRange(Histogram(), 0.5, 0.5, 256);
  EXPECT_EQ(range.min, 0.5);
  EXPECT_EQ(range.max, 0.5);
}

}  // namespace
}  // namespace lowbit
