#include "quant/channel_grid.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/affine.h"
#include "quant/quant_params.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

QuantParams Params(int bits, float scale, float zero_point) {
  QuantParams params;
  params.bits = bits;
  params.scale = {scale};
  params.zero_point = {zero_point};
  return params;
}

TEST(ChannelGridTest, AUniformGridIsThatOfAffine) {
  const QuantParams params = Params(4, 0.3f, 2);
  const ChannelGrid grid(params, 0);
  for (int i = -400; i <= 400; ++i) {
    const float x = static_cast<float>(i) * 0.01f;
    EXPECT_EQ(grid.Quantize(x), QuantizeValue(x, 0.3f, 2, -8, 7)) << x;
    EXPECT_EQ(grid.FakeQuantize(x), FakeQuantizeValue(x, 0.3f, 2, -8, 7)) << x;
  }
  EXPECT_EQ(grid.Values().size(), 16u);
  EXPECT_EQ(grid.Values().front(), DequantizeValue(-8, 0.3f, 2));
  EXPECT_TRUE(grid.levels().empty());
}

// Levels -4, -1, 0, 3, at a scale of 0.5 with zero point 1: values -2.5, -1, -0.5, 1.
TEST(ChannelGridTest, LevelsByHand) {
  QuantParams params = Params(2, 0.5f, 1);
  params.levels = {-4, -1, 0, 3};
  const ChannelGrid grid(params, 0);
  EXPECT_THAT(grid.Values(), ElementsAre(-2.5f, -1, -0.5f, 1));
  EXPECT_THAT(grid.midpoints(), ElementsAre(-2.5f, -0.5f, 1.5f));
  EXPECT_EQ(grid.Quantize(-9), -2);
  EXPECT_EQ(grid.Quantize(-1.76f), -2);
  EXPECT_EQ(grid.Quantize(-1.75f), -2) << "the lower one of two that are equally near";
  EXPECT_EQ(grid.Quantize(-1.74f), -1);
  EXPECT_EQ(grid.Quantize(-0.74f), 0);
  EXPECT_EQ(grid.Quantize(0.24f), 0);
  EXPECT_EQ(grid.Quantize(0.26f), 1);
  EXPECT_EQ(grid.Quantize(std::numeric_limits<float>::infinity()), 1);
  EXPECT_EQ(grid.Dequantize(-1), -1);
  EXPECT_TRUE(std::isnan(grid.FakeQuantize(std::nanf(""))));
}

// Channel 1: +-1 +- 0.5 at a scale of 2 around -zero_point * 2 = 0.5. Bit 0 is the sign of the 1, bit 1 that of the
// 0.5.
TEST(ChannelGridTest, BasesByHand) {
  QuantParams params = Params(2, 1, 0);
  params.scale = {1, 2};
  params.zero_point = {0, -0.25f};
  params.bases = {1, 0.5f};
  ASSERT_TRUE(params.Validate().ok());
  const ChannelGrid grid(params, 1);
  EXPECT_EQ(grid.Dequantize(-2), -2.5f);  // u = 0: -1 - 0.5
  EXPECT_EQ(grid.Dequantize(-1), 1.5f);   // u = 1: +1 - 0.5
  EXPECT_EQ(grid.Dequantize(0), -0.5f);   // u = 2: -1 + 0.5
  EXPECT_EQ(grid.Dequantize(1), 3.5f);    // u = 3: +1 + 0.5
  EXPECT_THAT(grid.Values(), ElementsAre(-2.5f, -0.5f, 1.5f, 3.5f));
  EXPECT_EQ(grid.Quantize(-0.4f), 0);
  EXPECT_EQ(grid.Quantize(0.6f), -1);
  // Bases that are equal make two codes of one value: the one with the smaller code is taken.
  const ChannelGrid equal(params, 0);
  EXPECT_THAT(equal.Values(), ElementsAre(-2, 0, 0, 2));
  EXPECT_EQ(equal.Quantize(0), -1);
}

TEST(ChannelGridTest, EveryCodeComesBack) {
  QuantParams params = Params(4, 0.7f, 0.5f);
  params.bases = {0.5f, 0.26f, 0.13f};
  const ChannelGrid bases(params, 0);
  for (int32_t q = params.qmin(); q <= params.qmax(); ++q) EXPECT_EQ(bases.Quantize(bases.Dequantize(q)), q);
  params.bases.clear();
  params.is_signed = false;
  params.levels = {0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
  const ChannelGrid levels(params, 0);
  EXPECT_EQ(params.qmax(), 10);
  for (int32_t q = params.qmin(); q <= params.qmax(); ++q) EXPECT_EQ(levels.Quantize(levels.Dequantize(q)), q);
}

TEST(ChannelGridTest, ValuesAreKeptFiniteByTheScale) {
  constexpr float kMax = std::numeric_limits<float>::max();
  // Steps from the zero point of 4 bits: 8 and 7; of levels: 3; of bases: 1.75.
  QuantParams uniform = Params(4, kMax, 0), levels = Params(2, kMax, 1), bases = Params(3, kMax, 0);
  levels.levels = {-2, 0, 3};
  bases.bases = {0.5f, 0.25f};
  const QuantParams sign = Params(1, std::numeric_limits<float>::infinity(), -0.5f);
  std::vector<QuantParams> all = {uniform, levels, bases, sign};
  for (QuantParams& params : all) {
    KeepValuesFinite(&params);
    for (const float value : ChannelGrid(params, 0).Values()) EXPECT_TRUE(std::isfinite(value)) << params.bits;
    // And no lower than that.
    QuantParams larger = params;
    larger.scale[0] *= 1 + 1e-6f;
    bool all_finite = true;
    for (const float value : ChannelGrid(larger, 0).Values()) all_finite = all_finite && std::isfinite(value);
    EXPECT_TRUE(!all_finite || params.scale[0] == kMax) << params.bits;
  }
  EXPECT_FLOAT_EQ(all[0].scale[0], kMax / 8);
  EXPECT_FLOAT_EQ(all[1].scale[0], kMax / 3);
  EXPECT_FLOAT_EQ(all[2].scale[0], kMax / 1.75f);
  EXPECT_EQ(all[3].scale[0], kMax);
}

TEST(ChannelGridTest, ScalesWhoseValuesAreFiniteStayAsTheyAre) {
  QuantParams params = Params(4, 0.5f, 0);
  params.scale = {0.5f, 3e38f, 4e37f};
  params.zero_point = {0, 0, 0};
  KeepValuesFinite(&params);
  EXPECT_EQ(params.scale[0], 0.5f);
  EXPECT_LT(params.scale[1], 3e38f);
  EXPECT_EQ(params.scale[2], 4e37f);
}

}  // namespace
}  // namespace lowbit
