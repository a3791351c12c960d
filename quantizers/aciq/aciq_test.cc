#include <algorithm>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/optimal_clip.h"
#include "quant/quantizer_testing.h"
#include "quantizers/aciq/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

absl::StatusOr<std::unique_ptr<Quantizer>> TryCreate(const AciqOptions& options) {
  return CreateQuantizerWith("aciq", options);
}

QuantParams Fit(const std::vector<float>& values, int bits, const AciqOptions& options = AciqOptions(),
                int64_t images = 1) {
  return FitValues(**TryCreate(options), values, bits, images);
}

// A linear layer with a weight of one row.
QuantParams QuantizeRow(const std::vector<float>& row, int bits, const AciqOptions& options = AciqOptions()) {
  return QuantizeRows(**TryCreate(options), row, 1, bits).params;
}

// (i + 0.5) / count for i = 0, ..., count - 1 through the inverse of the distribution function of |x|: an ideal sample.
std::vector<float> Exponential(int count, double mean) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(-mean * std::log(1 - (i + 0.5) / count)));
  return values;
}

std::vector<float> HalfNormal(int count) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i) {
    double low = 0;  // erf(x / sqrt(2)) = u, by bisection
    double high = 10;
    for (int k = 0; k < 60; ++k) {
      const double x = (low + high) / 2;
      (std::erf(x / std::sqrt(2.0)) < (i + 0.5) / count ? low : high) = x;
    }
    values.push_back(static_cast<float>(low));
  }
  return values;
}

std::vector<float> BothSigns(std::vector<float> values, float shift = 0) {
  const size_t half = values.size();
  for (size_t i = 0; i < half; ++i) values.push_back(-values[i]);
  for (float& x : values) x += shift;
  return values;
}

std::vector<float> WithZeros(std::vector<float> values, size_t zeros) {
  values.resize(values.size() + zeros);
  return values;
}

AciqOptions Of(AciqOptions::Family family) {
  AciqOptions options;
  options.set_family(family);
  return options;
}

constexpr int kCount = 20000;

// alpha = c b, b = 3. Affine: scale = 2 alpha / 15, c for such steps. Symmetric: scale = alpha / 7, likewise.
TEST(AciqTest, LaplaceOfBothSigns) {
  const double alpha = 3 * OptimalClip(Bell::kLaplace, 2 / 15.0);
  const double symmetric = 3 * OptimalClip(Bell::kLaplace, 1 / 7.0);
  const std::vector<float> values = BothSigns(Exponential(kCount, 3));
  for (const AciqOptions& options : {Of(AciqOptions::LAPLACE), Of(AciqOptions::LOWER_ERROR)}) {
    EXPECT_NEAR(QuantizeRow(values, 4, options).scale[0], symmetric / 7, 0.005 * symmetric / 7);
    EXPECT_NEAR(Fit(values, 4, options).scale[0], 2 * alpha / 15, 0.005 * alpha / 15);
  }
}

TEST(AciqTest, GaussOfBothSigns) {
  const double alpha = OptimalClip(Bell::kGauss, 2 / 15.0);
  const double symmetric = OptimalClip(Bell::kGauss, 1 / 7.0);
  const std::vector<float> values = BothSigns(HalfNormal(kCount));
  for (const AciqOptions& options : {Of(AciqOptions::GAUSS), Of(AciqOptions::LOWER_ERROR)}) {
    EXPECT_NEAR(QuantizeRow(values, 4, options).scale[0], symmetric / 7, 0.005 * symmetric / 7);
    EXPECT_NEAR(Fit(values, 4, options).scale[0], 2 * alpha / 15, 0.005 * alpha / 15);
  }
}

// scale = alpha / 15, with steps half as wide; how many zeros there are says nothing of the rest.
TEST(AciqTest, OneSided) {
  const double laplace = 3 * OptimalClip(Bell::kLaplace, 1 / 15.0);
  for (const size_t zeros : {kCount / 2, 5 * kCount}) {
    const QuantParams params = Fit(WithZeros(Exponential(kCount, 3), zeros), 4, Of(AciqOptions::LAPLACE));
    EXPECT_NEAR(params.scale[0], laplace / 15, 0.005 * laplace / 15) << zeros;
    EXPECT_THAT(params.zero_point, ElementsAre(0));
  }
  const double gauss = OptimalClip(Bell::kGauss, 1 / 15.0);
  EXPECT_NEAR(Fit(WithZeros(HalfNormal(kCount), kCount), 4).scale[0], gauss / 15, 0.005 * gauss / 15);
  std::vector<float> negative = WithZeros(HalfNormal(kCount), kCount);
  for (float& x : negative) x = -x;
  const QuantParams params = Fit(negative, 4);
  EXPECT_NEAR(params.scale[0], gauss / 15, 0.005 * gauss / 15);
  EXPECT_THAT(params.zero_point, ElementsAre(15));
}

// The bell around 1.5, [1.5 - alpha, 1.5 + alpha]; with the symmetric scheme around 0.
TEST(AciqTest, ShiftedBells) {
  const std::vector<float> values = BothSigns(HalfNormal(kCount), 1.5f);
  const double alpha = OptimalClip(Bell::kGauss, 2 / 15.0);
  const QuantParams affine = Fit(values, 4, Of(AciqOptions::GAUSS));
  EXPECT_NEAR(affine.scale[0], 2 * alpha / 15, 0.005 * alpha / 15);
  EXPECT_THAT(affine.zero_point, ElementsAre(std::nearbyint(static_cast<float>((alpha - 1.5) * 15 / (2 * alpha)))));
  AciqOptions options = Of(AciqOptions::GAUSS);
  options.set_activation_scheme(RangeOptions::SYMMETRIC);
  const double sigma = std::sqrt(1 + 1.5 * 1.5);
  const double symmetric = sigma * OptimalClip(Bell::kGauss, 1 / 7.0);
  EXPECT_NEAR(Fit(values, 4, options).scale[0], symmetric / 7, 0.005 * symmetric / 7);
}

double SquaredError(const std::vector<float>& values, double scale, int qmin, int qmax) {
  double sum = 0;
  for (const double x : values) {
    const double q = std::min(std::max(std::nearbyint(x / scale), double{1} * qmin), double{1} * qmax);
    sum += (x - scale * q) * (x - scale * q);
  }
  return sum;
}

// The smallest squared error over all ranges is not far away, where the bell is true.
TEST(AciqTest, IsCloseToTheBestRange) {
  for (const bool laplace : {false, true}) {
    const std::vector<float> positive = laplace ? Exponential(kCount, 1) : HalfNormal(kCount);
    for (const bool one_sided : {false, true}) {
      const std::vector<float> values = one_sided ? positive : BothSigns(positive);
      for (const int bits : {3, 4, 6, 8}) {
        const QuantParams params = one_sided ? Fit(values, bits) : QuantizeRow(values, bits);
        const auto error = [&](double scale) { return SquaredError(values, scale, params.qmin(), params.qmax()); };
        double best = error(1);
        for (int i = 1; i <= 200; ++i) best = std::min(best, error(positive.back() * i / 200 / params.qmax()));
        EXPECT_LE(error(params.scale[0]), 1.04 * best)
            << bits << " bits, Laplace " << laplace << ", one-sided " << one_sided;
      }
    }
  }
}

TEST(AciqTest, NoFurtherThanTheExtremes) {
  EXPECT_THAT(Fit({0, 7.5f, 7.5f, 7.5f}, 4).scale, ElementsAre(0.5f));
  EXPECT_THAT(QuantizeRow({1.5f, -1.5f, 1.5f}, 4).scale, ElementsAre(0.2f));
}

}  // namespace
}  // namespace lowbit
