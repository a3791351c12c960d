#include <cmath>
#include <vector>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/quantizer_testing.h"
#include "quantizers/percentile/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

absl::StatusOr<std::unique_ptr<Quantizer>> TryCreate(const PercentileOptions& options) {
  return CreateQuantizerWith("percentile", options);
}

QuantParams Fit(const std::vector<float>& values, int bits, const PercentileOptions& options = PercentileOptions(),
                int64_t images = 1) {
  return FitValues(**TryCreate(options), values, bits, images);
}

// A linear layer with a weight of one row.
QuantParams QuantizeRow(const std::vector<float>& row, int bits,
                        const PercentileOptions& options = PercentileOptions()) {
  return QuantizeRows(**TryCreate(options), row, 1, bits).params;
}

PercentileOptions Of(double percentile) {
  PercentileOptions options;
  options.set_percentile(percentile);
  return options;
}

PercentileOptions Affine(double percentile) {
  PercentileOptions options = Of(percentile);
  options.set_weight_scheme(RangeOptions::AFFINE);
  return options;
}

// first, first + 1, ..., last
std::vector<float> Row(int first, int last) {
  std::vector<float> values;
  for (int i = first; i <= last; ++i) values.push_back(static_cast<float>(i));
  return values;
}

// 0, ..., 100: the 90th percentile is 90.
TEST(PercentileTest, WeightsOfOneSign) {
  EXPECT_THAT(QuantizeRow(Row(0, 100), 4, Affine(90)).scale, ElementsAre(90 / 15.0f));
  EXPECT_THAT(QuantizeRow(Row(0, 100), 4, Affine(100)).scale, ElementsAre(100 / 15.0f));
  EXPECT_THAT(QuantizeRow(Row(-100, 0), 4, Affine(90)).scale, ElementsAre(90 / 15.0f));
  EXPECT_THAT(QuantizeRow(Row(-100, 0), 4, Affine(90)).zero_point, ElementsAre(15));
}

// -60, ..., 40: lo and hi leave ten values each outside, so [-50, 30]. Of magnitudes, 0, 1, 1, ..., 40, 40, 41, ..., 60
// the 90th percentile is 50.
TEST(PercentileTest, WeightsOfBothSigns) {
  const QuantParams affine = QuantizeRow(Row(-60, 40), 4, Affine(90));
  EXPECT_THAT(affine.scale, ElementsAre(80 / 15.0f));
  EXPECT_THAT(affine.zero_point, ElementsAre(9));  // 50 / 5.33 = 9.4
  EXPECT_THAT(QuantizeRow(Row(-60, 40), 4, Of(90)).scale, ElementsAre(100 / 15.0f));
}

// Between 3 and 4, at 0.9 * 4 - 3 = 0.6.
TEST(PercentileTest, WeightsInterpolate) {
  EXPECT_THAT(QuantizeRow({0, 1, 2, 3, 4}, 2, Affine(90)).scale, ElementsAre(testing::FloatNear(3.6f / 3, 1e-6f)));
}

// 1,024 values, one in every other bin of 0.5 from 0 to 1,023.5: three quarters of them lie below 768.
TEST(PercentileTest, ActivationsOfOneSign) {
  const std::vector<float> values = Row(0, 1023);
  EXPECT_THAT(Fit(values, 4, Of(75)).scale, ElementsAre(testing::FloatNear(768 / 15.0f, 0.5f / 15)));
  EXPECT_THAT(Fit(values, 4, Of(100)).scale, ElementsAre(1023 / 15.0f)) << "not beyond the largest value";
  std::vector<float> negative;
  for (const float x : values) negative.push_back(-x);
  EXPECT_THAT(Fit(negative, 4, Of(75)).scale, ElementsAre(testing::FloatNear(768 / 15.0f, 0.5f / 15)));
  EXPECT_THAT(Fit(negative, 4, Of(75)).zero_point, ElementsAre(15));
}

// -512, ..., 511: an eighth on each side leaves [-384, 384]; magnitudes leave a quarter beyond 384.
TEST(PercentileTest, ActivationsOfBothSigns) {
  const std::vector<float> values = Row(-512, 511);
  const QuantParams affine = Fit(values, 4, Of(87.5));
  EXPECT_FALSE(affine.is_signed);
  EXPECT_THAT(affine.scale, ElementsAre(testing::FloatNear(768 / 15.0f, 1 / 15.0f)));
  EXPECT_THAT(affine.zero_point, ElementsAre(8));  // 7.5, give or take
  PercentileOptions options = Of(75);
  options.set_activation_scheme(RangeOptions::SYMMETRIC);
  const QuantParams symmetric = Fit(values, 4, options);
  EXPECT_TRUE(symmetric.is_signed);
  EXPECT_THAT(symmetric.scale, ElementsAre(testing::FloatNear(768 / 15.0f, 1 / 15.0f)));
}

TEST(PercentileTest, RareOutliersAreClipped) {
  std::vector<float> values(20000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::fabs(std::sin(static_cast<float>(i)));
  values[123] = 10;
  EXPECT_NEAR(Fit(values, 4).scale[0], 1 / 15.0, 0.01 / 15);
  EXPECT_THAT(Fit(values, 4, Of(100)).scale, ElementsAre(10 / 15.0f));
  EXPECT_NEAR(QuantizeRow(values, 4, Affine(99.99)).scale[0], 1 / 15.0, 0.01 / 15);
}

// One value in 20,000 is no share that 99.99 % would keep: the range would be [0, 0].
TEST(PercentileTest, AlmostNothingButZeros) {
  std::vector<float> values(20000);
  values[7] = 15;
  EXPECT_THAT(QuantizeRow(values, 4, Affine(99.99)).scale, ElementsAre(1));
  EXPECT_GT(Fit(values, 4).scale[0], 0);
}

TEST(PercentileTest, RefusesOptions) {
  for (const double percentile : {50.0, 100.5, -1.0}) {
    const absl::Status status = TryCreate(Of(percentile)).status();
    EXPECT_EQ(ErrorField(status), "options.percentile");
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("must be in (50, 100], got "));
  }
}

}  // namespace
}  // namespace lowbit
