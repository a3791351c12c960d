#include <algorithm>
#include <cmath>
#include <vector>

#include "base/field_error.h"
#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/channel_grid.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer_testing.h"
#include "quantizers/apot/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

absl::StatusOr<std::unique_ptr<Quantizer>> TryCreate(const ApotOptions& options) {
  return CreateQuantizerWith("apot", options);
}

QuantizedTensor QuantizeRow(const std::vector<float>& row, int bits, const ApotOptions& options = ApotOptions()) {
  return QuantizeRows(**TryCreate(options), row, 1, bits);
}

QuantParams Fit(const std::vector<float>& values, int bits, const ApotOptions& options = ApotOptions()) {
  return FitValues(**TryCreate(options), values, bits);
}

std::vector<float> Normal(int count, uint64_t seed) {
  Rng rng({seed});
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(rng.Normal()));
  return values;
}

double MeanPower(const std::vector<float>& values, const QuantParams& params, double p) {
  const ChannelGrid grid(params, 0);
  double sum = 0;
  for (const float x : values) sum += std::pow(std::fabs(x - grid.FakeQuantize(x)), p);
  return sum / static_cast<double>(values.size());
}

// The paper's (2) with k = 2, in units of the smallest power of two.
TEST(ApotTest, LevelsOfTheList) {
  EXPECT_THAT(Fit({0, 1}, 2).levels, ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(Fit({0, 1}, 3).levels, ElementsAre(0, 1, 2, 3, 4, 6, 8, 10));
  EXPECT_THAT(Fit({0, 1}, 4).levels, ElementsAre(0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48));
  EXPECT_THAT(QuantizeRow({1, -1}, 2).params.levels, ElementsAre(-1, 0, 1));
  EXPECT_THAT(QuantizeRow({1, -1}, 3).params.levels, ElementsAre(-4, -2, -1, 0, 1, 2, 4));
  EXPECT_THAT(Fit({-1, 1}, 3).levels, ElementsAre(-4, -2, -1, 0, 1, 2, 4));
  EXPECT_THAT(Fit({-1, 0}, 2).levels, ElementsAre(-4, -2, -1, 0));
}

TEST(ApotTest, EveryWidthHasAllItsLevels) {
  for (int bits = 2; bits <= 8; ++bits) {
    EXPECT_EQ(Fit({0, 1}, bits).levels.size(), size_t{1} << bits) << bits;
    EXPECT_EQ(QuantizeRow({1, -1}, bits).params.levels.size(), (size_t{1} << bits) - 1) << bits;
  }
}

// With alpha = 4 the levels are 0, +-1, +-2, +-4 and only 0.4 is off, by 0.4. With alpha = 2 it is 4 that is off, by 2.
TEST(ApotTest, HandComputed) {
  ApotOptions options;
  options.set_candidates(2);
  const QuantizedTensor row = QuantizeRow({4, -2, 1, 0.4f}, 3, options);
  EXPECT_THAT(row.params.scale, ElementsAre(1));
  EXPECT_THAT(row.params.zero_point, ElementsAre(0));
  EXPECT_THAT(Codes(row.codes), ElementsAre(2, -3, 0, -1));
  // -4, -2, -1, 0 are codes -4 to -1.
  EXPECT_EQ(row.params.qmin(), -4);
  EXPECT_EQ(row.params.qmax(), 2);
}

TEST(ApotTest, NoFractionIsBetter) {
  const std::vector<float> values = Normal(300, 3);
  float largest = 0;
  for (const float x : values) largest = std::max(largest, std::fabs(x));
  for (const int bits : {2, 3, 4, 5, 8}) {
    QuantParams params = QuantizeRow(values, bits).params;
    const double found = MeanPower(values, params, 2.4);
    for (int i = 1; i <= 100; ++i) {
      params.scale = {largest * static_cast<float>(i) / 100 / static_cast<float>(params.levels.back())};
      EXPECT_LE(found, MeanPower(values, params, 2.4) * (1 + 1e-5)) << bits << " bits, " << i << " %";
    }
  }
}

TEST(ApotTest, ActivationsAreCloseToTheBestFraction) {
  std::vector<float> values = Normal(5000, 4);
  for (float& x : values) x = std::max(x, 0.0f);
  const float largest = *std::max_element(values.begin(), values.end());
  for (const int bits : {2, 3, 4}) {
    QuantParams params = Fit(values, bits);
    EXPECT_FALSE(params.is_signed);
    const double found = MeanPower(values, params, 2.4);
    for (int i = 1; i <= 100; ++i) {
      params.scale = {largest * static_cast<float>(i) / 100 / static_cast<float>(params.levels.back())};
      EXPECT_LE(found, MeanPower(values, params, 2.4) * 1.01) << bits << " bits, " << i << " %";
    }
  }
}

TEST(ApotTest, RefusesOptionsAndWidths) {
  ApotOptions options;
  options.set_p(0);
  EXPECT_EQ(TryCreate(options).status().message(), "must be in [1, 10], got 0");
  EXPECT_EQ(ErrorField(TryCreate(options).status()), "options.p");
  options = ApotOptions();
  options.set_candidates(1);
  EXPECT_EQ(TryCreate(options).status().message(), "must be in [2, 10000], got 1");
  const Layer layer{"fc", Linear{4, 2, true}, {0}};
  EXPECT_EQ((*TryCreate(ApotOptions()))->Supports(layer, Role::kWeight, 1).message(), "must be 2 to 8 for apot, got 1");
}

}  // namespace
}  // namespace lowbit
