#include <algorithm>
#include <cmath>
#include <vector>

#include "base/field_error.h"
#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/affine.h"
#include "quant/quantizer_testing.h"
#include "quant/range_grid.h"
#include "quantizers/mse/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

absl::StatusOr<std::unique_ptr<Quantizer>> TryCreate(const MseOptions& options) {
  return CreateQuantizerWith("mse", options);
}

QuantParams Fit(const std::vector<float>& values, int bits, const MseOptions& options = MseOptions(),
                int64_t images = 1) {
  return FitValues(**TryCreate(options), values, bits, images);
}

// A linear layer with a weight of one row.
QuantParams QuantizeRow(const std::vector<float>& row, int bits, const MseOptions& options = MseOptions()) {
  return QuantizeRows(**TryCreate(options), row, 1, bits).params;
}

MseOptions WithP(double p) {
  MseOptions options;
  options.set_p(p);
  return options;
}

// The mean of |x - x'|^p.
double Error(const std::vector<float>& values, const Grid& grid, double p) {
  double sum = 0;
  for (const float x : values) {
    const double d = x - FakeQuantizeValue(x, grid.scale, grid.zero_point, grid.qmin, grid.qmax);
    sum += std::pow(std::fabs(d), p);
  }
  return sum / static_cast<double>(values.size());
}

double Error(const std::vector<float>& values, const QuantParams& params, double p) {
  return Error(values, Grid{params.scale[0], params.zero_point[0], params.qmin(), params.qmax()}, p);
}

Range Extremes(const std::vector<float>& values) {
  return Range{std::min(*std::min_element(values.begin(), values.end()), 0.0f),
               std::max(*std::max_element(values.begin(), values.end()), 0.0f)};
}

// Normal numbers around `mean`, the positive ones stretched: an asymmetric bell.
std::vector<float> Skewed(int count, double mean, double stretch, uint64_t seed) {
  Rng rng({seed});
  std::vector<float> values;
  for (int i = 0; i < count; ++i) {
    const double x = rng.Normal();
    values.push_back(static_cast<float>(mean + (x > 0 ? stretch * x : x)));
  }
  return values;
}

std::vector<float> Rectified(std::vector<float> values) {
  for (float& x : values) x = std::max(x, 0.0f);
  return values;
}

// Every pair of a fraction of lo and a fraction of hi.
double BruteForce(const std::vector<float>& values, int bits, double p) {
  const Range extremes = Extremes(values);
  double best = Error(values, MakeGrid(extremes, false, bits), p);
  for (int i = 0; i <= 50; ++i) {
    for (int j = 0; j <= 50; ++j) {
      const Range range{Scaled(extremes, i / 50.0).lo, Scaled(extremes, j / 50.0).hi};
      if (i + j > 0) best = std::min(best, Error(values, MakeGrid(range, false, bits), p));
    }
  }
  return best;
}

// 2 bits over [-a, a] are -4a/3, -2a/3, 0, 2a/3. Of a = 4, 3, 2, 1:
//   a = 4: 4 is off by 4/3, and eight 1s by 1             16/9 + 8 = 9.8
//   a = 3: 4 is off by 2, and 1 / 2 goes to the even 0    4 + 8 = 12
//   a = 2: 4 is off by 8/3, eight by 1/3                  64/9 + 8/9 = 8
//   a = 1: 4 is off by 10/3, eight by 1/3                 100/9 + 8/9 = 12
TEST(MseTest, HandComputed) {
  MseOptions options = WithP(2);
  options.set_candidates(4);
  const QuantParams params = QuantizeRow({4, 1, 1, -1, 1, -1, 1, -1, 1}, 2, options);
  EXPECT_THAT(params.scale, ElementsAre(4 / 3.0f));
  EXPECT_THAT(params.zero_point, ElementsAre(0));
  // Only seven: 8.8, and 8 - 1/9.
  EXPECT_THAT(QuantizeRow({4, 1, 1, -1, 1, -1, 1, -1}, 2, options).scale, ElementsAre(4 / 3.0f));
  // Three: 4.8, 7, 7.4, 11.4.
  EXPECT_THAT(QuantizeRow({4, 1, 1, -1}, 2, options).scale, ElementsAre(8 / 3.0f));
}

TEST(MseTest, NoRangeIsWorseThanTheWholeOne) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const std::vector<float> values = Skewed(60, 0.2 * static_cast<double>(seed), 2, seed);
    for (const RangeOptions::Scheme scheme : {RangeOptions::SYMMETRIC, RangeOptions::AFFINE}) {
      for (const int bits : {2, 3, 4, 6, 8, 16}) {
        MseOptions options;
        options.set_weight_scheme(scheme);
        const double whole =
            Error(values, MakeGrid(Extremes(values), scheme == RangeOptions::SYMMETRIC, bits), options.p());
        EXPECT_LE(Error(values, QuantizeRow(values, bits, options), options.p()), whole * (1 + 1e-6)) << bits;
      }
    }
  }
}

TEST(MseTest, SymmetricRangesAreTheBestOfAll) {
  const std::vector<float> values = Skewed(200, 0, 1, 11);
  for (const int bits : {2, 3, 4, 8}) {
    const double found = Error(values, QuantizeRow(values, bits), 2.4);
    for (int i = 1; i <= 100; ++i) {
      EXPECT_LE(found, Error(values, MakeGrid(Scaled(Extremes(values), i / 100.0), true, bits), 2.4) * (1 + 1e-5))
          << bits << " bits, " << i << " %";
    }
  }
}

TEST(MseTest, RangeAndZeroPointAreCloseToBruteForce) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const std::vector<float> values = Skewed(150, 0.5 * static_cast<double>(seed), 2.5, 20 + seed);
    for (const int bits : {2, 3, 4}) {
      MseOptions options;
      options.set_weight_scheme(RangeOptions::AFFINE);
      EXPECT_LE(Error(values, QuantizeRow(values, bits, options), 2.4), 1.02 * BruteForce(values, bits, 2.4))
          << bits << " bits, seed " << seed;
    }
  }
}

TEST(MseTest, ActivationsOfTheHistogramAreCloseToBruteForce) {
  for (const bool relu : {false, true}) {
    const std::vector<float> skewed = Skewed(4000, 0.3, 2, 31);
    const std::vector<float> values = relu ? Rectified(skewed) : skewed;
    for (const int bits : {2, 3, 4}) {
      const QuantParams params = Fit(values, bits);
      EXPECT_LE(Error(values, params, 2.4), 1.02 * BruteForce(values, bits, 2.4)) << bits << " bits, ReLU " << relu;
      if (relu) {
        EXPECT_THAT(params.zero_point, ElementsAre(0));
      }
    }
  }
}

TEST(MseTest, SymmetricActivations) {
  MseOptions options;
  options.set_activation_scheme(RangeOptions::SYMMETRIC);
  const std::vector<float> values = Skewed(4000, 0, 1, 41);
  const QuantParams params = Fit(values, 4, options);
  EXPECT_TRUE(params.is_signed);
  EXPECT_THAT(params.zero_point, ElementsAre(0));
  EXPECT_LT(Error(values, params, 2.4), Error(values, MakeGrid(Extremes(values), true, 4), 2.4));
}

TEST(MseTest, AHigherPowerClipsLess) {
  const std::vector<float> values = Skewed(2000, 0, 1, 51);
  EXPECT_LT(QuantizeRow(values, 4, WithP(1)).scale[0], QuantizeRow(values, 4, WithP(2)).scale[0]);
  EXPECT_LT(QuantizeRow(values, 4, WithP(2)).scale[0], QuantizeRow(values, 4, WithP(4)).scale[0]);
}

TEST(MseTest, RefusesOptions) {
  for (const double p : {0.5, 11.0, std::nan("")}) {
    const absl::Status status = TryCreate(WithP(p)).status();
    EXPECT_EQ(ErrorField(status), "options.p");
    EXPECT_EQ(std::string(status.message()).substr(0, 26), "must be in [1, 10], got " + std::string(p > 1   ? "11"
                                                                                                    : p < 1 ? "0."
                                                                                                            : "na"));
  }
  MseOptions options;
  options.set_candidates(1);
  EXPECT_EQ(ErrorField(TryCreate(options).status()), "options.candidates");
  EXPECT_EQ(TryCreate(options).status().message(), "must be in [2, 10000], got 1");
}

}  // namespace
}  // namespace lowbit
