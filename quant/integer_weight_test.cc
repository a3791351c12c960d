#include "quant/integer_weight.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/packing.h"

namespace lowbit {
namespace {

using ::testing::ElementsAre;

// One row for each scale.
PackedWeight Pack(int bits, bool is_signed, const std::vector<float>& scale, const std::vector<float>& zero_point,
                  const std::vector<int32_t>& codes) {
  PackedWeight packed;
  const int64_t rows = static_cast<int64_t>(scale.size());
  packed.shape = {rows, static_cast<int64_t>(codes.size()) / rows};
  packed.params.bits = bits;
  packed.params.is_signed = is_signed;
  packed.params.scale = scale;
  packed.params.zero_point = zero_point;
  packed.codes = PackCodes(codes, packed.row_size(), bits, packed.params.qmin());
  return packed;
}

TEST(IntegerWeight, WholeZeroPointsAreTakenOff) {
  const auto weight = ToIntegers(Pack(4, false, {0.5f, 2}, {8, 3}, {0, 15, 8, 3}));
  ASSERT_TRUE(weight.has_value());
  EXPECT_THAT(weight->values, ElementsAre(-8, 7, 5, 0));
  EXPECT_THAT(weight->scale, ElementsAre(0.5, 2));
  EXPECT_THAT(weight->zero_point, ElementsAre(0, 0));
}

TEST(IntegerWeight, HalfOfOneIsTakenOffTheDoubled) {
  const auto weight = ToIntegers(Pack(1, true, {4}, {-0.5f}, {-1, 0}));
  ASSERT_TRUE(weight.has_value());
  EXPECT_THAT(weight->values, ElementsAre(-1, 1));
  EXPECT_THAT(weight->scale, ElementsAre(2));
  EXPECT_THAT(weight->zero_point, ElementsAre(0));
}

TEST(IntegerWeight, WhatIsLeftOfAZeroPointIsKept) {
  const auto odd = ToIntegers(Pack(4, true, {1}, {0.25f}, {-8, 7}));
  ASSERT_TRUE(odd.has_value());
  EXPECT_THAT(odd->values, ElementsAre(-8, 7));
  EXPECT_THAT(odd->zero_point, ElementsAre(0.25));
  // All of 8 bits leaves one place only.
  const auto wide = ToIntegers(Pack(8, false, {1}, {100}, {0, 255}));
  ASSERT_TRUE(wide.has_value());
  EXPECT_THAT(wide->values, ElementsAre(-128, 127));
  EXPECT_THAT(wide->zero_point, ElementsAre(-28));
}

TEST(IntegerWeight, SomeHaveNone) {
  EXPECT_FALSE(ToIntegers(Pack(16, true, {1}, {0}, {1, 2})).has_value());
  PackedWeight levels = Pack(2, true, {1}, {0}, {-2, 1});
  levels.params.levels = {-200, 0, 50, 100};
  EXPECT_FALSE(ToIntegers(levels).has_value());
  PackedWeight bases = Pack(2, true, {1}, {0}, {-2, 1});
  bases.params.bases = {0.5f};
  EXPECT_FALSE(ToIntegers(bases).has_value());
}

TEST(IntegerWeight, SumsThatDoNotFitAreFound) {
  IntegerWeight weight;
  weight.scale = weight.zero_point = {1};
  weight.values.assign(size_t{1} << 16, -128);
  EXPECT_TRUE(SumsFit(weight, 255));
  weight.values.assign((size_t{1} << 16) + (1 << 15), -128);
  EXPECT_FALSE(SumsFit(weight, 255));
  // Codes are summed too, whatever their weights.
  weight.values.assign(size_t{1} << 24, 0);
  EXPECT_FALSE(SumsFit(weight, 255));
}

}  // namespace
}  // namespace lowbit
