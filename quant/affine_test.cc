#include "quant/affine.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(AffineTest, RoundsHalvesToEven) {
  const struct {
    float x, rounded;
  } cases[] = {{0.5f, 0},   {1.5f, 2},   {2.5f, 2},       {3.5f, 4},      {-0.5f, 0},
               {-1.5f, -2}, {-2.5f, -2}, {2.4999998f, 2}, {2.5000002f, 3}};
  for (const auto& c : cases) EXPECT_EQ(RoundHalfToEven(c.x), c.rounded) << c.x;
}

// scale 0.5, zero point 3, codes of 4 bits: -8 to 7, so values (-8 - 3) / 2 = -5.5 to (7 - 3) / 2 = 2.
TEST(AffineTest, FollowsTheFormula) {
  const struct {
    float x;
    int32_t q;
    float back;
  } cases[] = {
      {0, 3, 0},           // 0 is exact
      {1.25f, 6, 1.5f},    // 2.5 + 3 = 5.5 -> 6
      {0.75f, 4, 0.5f},    // 1.5 + 3 = 4.5 -> 4
      {-0.25f, 2, -0.5f},  // -0.5 + 3 = 2.5 -> 2
      {-2.6f, -2, -2.5f},  // -5.2 + 3 = -2.2 -> -2
      {2, 7, 2},          {2.3f, 7, 2},          {kInfinity, 7, 2},
      {-5.5f, -8, -5.5f}, {-6, -8, -5.5f},       {-kInfinity, -8, -5.5f},
      {3.4e38f, 7, 2},    {-3.4e38f, -8, -5.5f}, {1e-45f, 3, 0},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(QuantizeValue(c.x, 0.5f, 3, -8, 7), c.q) << c.x;
    EXPECT_EQ(DequantizeValue(c.q, 0.5f, 3), c.back) << c.q;
    EXPECT_EQ(FakeQuantizeValue(c.x, 0.5f, 3, -8, 7), c.back) << c.x;
  }
}

TEST(AffineTest, OneBitIsSignAndMagnitude) {
  const float magnitude = 0.75f;
  const auto value = [&](float x) { return FakeQuantizeValue(x, 2 * magnitude, -0.5f, -1, 0); };
  EXPECT_EQ(value(5), magnitude);
  EXPECT_EQ(value(1e-6f), magnitude);
  EXPECT_EQ(value(0.0f), magnitude);
  EXPECT_EQ(value(-0.0f), magnitude);
  EXPECT_EQ(value(-1e-6f), -magnitude);
  EXPECT_EQ(value(-5), -magnitude);
  EXPECT_EQ(value(-1e-9f), magnitude) << "closer to 0 than the sum with -0.5 can tell";
}

TEST(AffineTest, SixteenBitsReachBothEnds) {
  EXPECT_EQ(QuantizeValue(1e9f, 1e-3f, 0, -32768, 32767), 32767);
  EXPECT_EQ(QuantizeValue(-1e9f, 1e-3f, 0, -32768, 32767), -32768);
  EXPECT_EQ(QuantizeValue(65534.5f, 1, 0, 0, 65535), 65534);
  EXPECT_EQ(QuantizeValue(65535.5f, 1, 0, 0, 65535), 65535);
}

TEST(AffineTest, NothingBecomesMinusZeroAndNanStays) {
  EXPECT_FALSE(std::signbit(FakeQuantizeValue(-0.0f, 0.5f, 0, -8, 7)));
  EXPECT_FALSE(std::signbit(FakeQuantizeValue(-0.1f, 0.5f, 0, -8, 7)));
  EXPECT_TRUE(std::isnan(FakeQuantizeValue(std::numeric_limits<float>::quiet_NaN(), 0.5f, 0, -8, 7)));
}

}  // namespace
}  // namespace lowbit
