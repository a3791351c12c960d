#include "quant/range_grid.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "quant/affine.h"

namespace lowbit {
namespace {

constexpr int kWidths[] = {2, 3, 4, 5, 6, 7, 8, 16};
constexpr float kMax = std::numeric_limits<float>::max();

void ExpectGrid(const Grid& grid, float scale, float zero_point, int32_t qmin, int32_t qmax) {
  EXPECT_EQ(grid.scale, scale);
  EXPECT_EQ(grid.zero_point, zero_point);
  EXPECT_EQ(grid.qmin, qmin);
  EXPECT_EQ(grid.qmax, qmax);
}

TEST(RangeGridTest, HandComputed) {
  ExpectGrid(MakeGrid({-1.5f, 1}, true, 4), 0.2f, 0, -8, 7);       // 3 / 15
  ExpectGrid(MakeGrid({-1, 2}, false, 2), 1, 1, 0, 3);             // 3 / 3
  ExpectGrid(MakeGrid({0, 7.5f}, false, 4), 0.5f, 0, 0, 15);       // 7.5 / 15
  ExpectGrid(MakeGrid({-7.5f, 0}, false, 4), 0.5f, 15, 0, 15);     // the highest code is 0
  ExpectGrid(MakeGrid({-1.25f, 0.25f}, false, 2), 0.5f, 2, 0, 3);  // 2.5 goes to the even 2
  ExpectGrid(MakeGrid({0, 0}, true, 3), 1, 0, -4, 3);
  ExpectGrid(MakeGrid({0, 0}, false, 3), 1, 0, 0, 7);
}

TEST(RangeGridTest, EveryCodeIsFiniteAndZeroIsOne) {
  for (const Range& range : {Range{-kMax, kMax}, Range{0, kMax}, Range{-kMax, 0}, Range{-1e-44f, 0}, Range{-1e-30f, 1},
                             Range{-1e30f, 1e-30f}, Range{-0.3f, 0.7f}, Range{0, 1e-45f}}) {
    for (const bool symmetric : {false, true}) {
      for (const int bits : kWidths) {
        const Grid grid = MakeGrid(range, symmetric, bits);
        EXPECT_GE(grid.scale, 1e-20f);
        EXPECT_TRUE(std::isfinite(DequantizeValue(grid.qmin, grid.scale, grid.zero_point))) << range.lo << " " << bits;
        EXPECT_TRUE(std::isfinite(DequantizeValue(grid.qmax, grid.scale, grid.zero_point))) << range.hi << " " << bits;
        EXPECT_EQ(FakeQuantizeValue(0, grid.scale, grid.zero_point, grid.qmin, grid.qmax), 0) << bits;
      }
    }
  }
}

TEST(RangeGridTest, Ranges) {
  EXPECT_EQ(Magnitude({-2, 1}), 2);
  EXPECT_EQ(Magnitude({0, 1}), 1);
  EXPECT_TRUE(IsOneSided({0, 1}));
  EXPECT_TRUE(IsOneSided({-1, 0}));
  EXPECT_FALSE(IsOneSided({-1, 1}));
  EXPECT_EQ(Scaled({-2, 4}, 0.25), (Range{-0.5f, 1}));
  EXPECT_EQ(Clipped(-5, 3, {-1, 10}), (Range{-1, 3}));
  EXPECT_EQ(Clipped(1, 3, {-1, 10}), (Range{0, 3})) << "0 stays in";
  EXPECT_EQ(Clipped(-3, -1, {-2, 10}), (Range{-2, 0}));
  EXPECT_EQ(Clipped(-1e300, 1e300, {-kMax, kMax}), (Range{-kMax, kMax}));
}

TEST(RangeGridTest, OneBit) {
  EXPECT_EQ(OneBitMagnitude(0.75), 0.75f);
  EXPECT_EQ(OneBitMagnitude(0), 0.5e-20f);
}

}  // namespace
}  // namespace lowbit
