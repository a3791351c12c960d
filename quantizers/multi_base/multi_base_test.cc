#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/field_error.h"
#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/channel_grid.h"
#include "quant/quantizer_testing.h"
#include "quant/range_grid.h"
#include "quantizers/multi_base/options.pb.h"

namespace lowbit {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::FloatNear;
using testing::Truly;

QuantizedTensor QuantizeRow(const std::vector<float>& row, int bits,
                            const MultiBaseOptions& options = MultiBaseOptions()) {
  return QuantizeRows(**CreateQuantizerWith("multi_base", options), row, 1, bits);
}

MultiBaseOptions Shifted() {
  MultiBaseOptions options;
  options.set_shifted(true);
  return options;
}

double Error(const std::vector<float>& values, const QuantParams& params) {
  const ChannelGrid grid(params, 0);
  double sum = 0;
  for (const float x : values) sum += std::pow(x - grid.FakeQuantize(x), 2);
  return sum;
}

std::vector<float> Normal(int count, double mean, uint64_t seed) {
  Rng rng({seed});
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(mean + rng.Normal()));
  return values;
}

// 5, 3, -3, -5 are 4 and 1 with all signs: no error is left.
TEST(MultiBaseTest, TwoBasesByHand) {
  const QuantizedTensor row = QuantizeRow({5, 3, -3, -5}, 2);
  EXPECT_THAT(row.params.scale, ElementsAre(FloatNear(4, 1e-5f)));
  EXPECT_THAT(row.params.bases, ElementsAre(FloatNear(0.25f, 1e-6f)));
  EXPECT_THAT(row.params.zero_point, ElementsAre(0));
  // u = 3 is ++, 1 is +-, 2 is -+, 0 is --.
  EXPECT_THAT(Codes(row.codes), ElementsAre(1, -1, 0, -2));
}

TEST(MultiBaseTest, AShiftByHand) {
  const QuantizedTensor row = QuantizeRow({7, 5, -1, -3}, 2, Shifted());
  const ChannelGrid grid(row.params, 0);
  EXPECT_THAT(grid.Values(),
              ElementsAre(FloatNear(-3, 1e-5f), FloatNear(-1, 1e-5f), FloatNear(5, 1e-5f), FloatNear(7, 1e-5f)));
}

// One base is sign and mean magnitude; with a shift, the best two values.
TEST(MultiBaseTest, OneBit) {
  EXPECT_THAT(QuantizeRow({1, -2, 3, 0}, 1).params.scale, ElementsAre(3));
  const ChannelGrid grid(QuantizeRow({0, 0, 4, 8}, 1, Shifted()).params, 0);
  EXPECT_THAT(grid.Values(), ElementsAre(FloatNear(0, 1e-6f), FloatNear(6, 1e-6f)));
}

TEST(MultiBaseTest, NoWorseThanGreedyAndThanUniform) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const std::vector<float> values = Normal(150, 0, seed);
    float largest = 0;
    for (const float x : values) largest = std::max(largest, std::fabs(x));
    for (const int bits : {2, 3, 4}) {
      const double found = Error(values, QuantizeRow(values, bits).params);
      // The greedy choice: every base from what those before it left.
      std::vector<float> rest = values;
      for (int i = 0; i < bits; ++i) {
        double sum = 0;
        for (const float r : rest) sum += std::fabs(r);
        const float scale = static_cast<float>(sum / static_cast<double>(rest.size()));
        for (float& r : rest) r -= r >= 0 ? scale : -scale;
      }
      double greedy = 0;
      for (const float r : rest) greedy += r * r;
      EXPECT_LT(found, greedy) << bits;
      QuantParams uniform;
      uniform.bits = bits;
      uniform.scale = {2 * largest / static_cast<float>((1 << bits) - 1)};
      uniform.zero_point = {-0.5f};
      EXPECT_LT(found, Error(values, uniform)) << bits;
      EXPECT_LE(Error(values, QuantizeRow(values, bits, Shifted()).params), found * (1 + 1e-6)) << bits;
    }
  }
}

// Another scale for any base makes it worse.
TEST(MultiBaseTest, ScalesAreAMinimum) {
  const std::vector<float> values = Normal(200, 0, 9);
  const QuantParams params = QuantizeRow(values, 3).params;
  const double found = Error(values, params);
  for (const float factor : {0.98f, 1.02f}) {
    QuantParams other = params;
    other.scale[0] *= factor;
    EXPECT_GT(Error(values, other), found);
    for (size_t i = 0; i < 2; ++i) {
      other = params;
      other.bases[i] *= factor;
      EXPECT_GT(Error(values, other), found) << i;
    }
  }
}

TEST(MultiBaseTest, ConstantChannels) {
  for (const MultiBaseOptions& options : {MultiBaseOptions(), Shifted()}) {
    for (const float value : {0.0f, -0.3f, 2.0f}) {
      const std::vector<float> values(9, value);
      for (const int bits : {1, 2, 3}) {
        EXPECT_NEAR(Error(values, QuantizeRow(values, bits, options).params), 0, 1e-9) << value << ", " << bits;
      }
    }
  }
}

TEST(MultiBaseTest, HugeValuesStayFinite) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const MultiBaseOptions& options : {MultiBaseOptions(), Shifted()}) {
    for (const std::vector<float>& values : {std::vector<float>{3e38f, -3e38f, 1e38f}, std::vector<float>{kMax, -kMax},
                                             std::vector<float>{kMax, kMax, kMax}, std::vector<float>{-kMax, -3e38f},
                                             std::vector<float>{0, 3e38f, kMax}}) {
      for (const int bits : {1, 2, 3, 8}) {
        const QuantizedTensor row = QuantizeRow(values, bits, options);
        EXPECT_TRUE(row.params.Validate().ok()) << row.params.Validate();
        EXPECT_THAT(ChannelGrid(row.params, 0).Values(), Each(Truly([](float x) { return std::isfinite(x); }))) << bits;
      }
    }
  }
  EXPECT_THAT(ChannelGrid(QuantizeRow({3e38f, -3e38f}, 1).params, 0).Values(), ElementsAre(-kMax / 2, kMax / 2));
}

TEST(MultiBaseTest, RefusesActivationsAndOptions) {
  const auto quantizer = CreateQuantizerWith("multi_base", MultiBaseOptions());
  const absl::Status status = (*quantizer)->Supports(Layer{"relu", Relu{}, {0}}, Role::kActivation, 2);
  EXPECT_EQ(status.message(),
            "quantizes weights only, and this is the output of relu; mse or percentile serve activations");
  EXPECT_EQ(ErrorField(status), "name");
  EXPECT_EQ((*quantizer)->Supports(Layer{"fc", Linear{4, 2, true}, {0}}, Role::kWeight, 16).message(),
            "must be 1 to 8 for multi_base, got 16");
  MultiBaseOptions options;
  options.set_iterations(0);
  EXPECT_EQ(CreateQuantizerWith("multi_base", options).status().message(), "must be in [1, 1000], got 0");
}

}  // namespace
}  // namespace lowbit
