#include "quant/activation_codes.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

QuantParams Params(int bits, bool is_signed, float zero_point) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.scale = {0.25f};
  params.zero_point = {zero_point};
  return params;
}

TEST(ActivationCodes, BeginAtZero) {
  const auto codes = ToActivationCodes(Params(4, true, -3));  // q in [-8, 7]
  ASSERT_TRUE(codes.has_value());
  EXPECT_EQ(codes->scale, 0.25f);
  EXPECT_EQ(codes->lowest_level, -8);
  EXPECT_EQ(codes->zero_point, 5);
  EXPECT_EQ(codes->max_code, 15);
  EXPECT_EQ(ToActivationCodes(Params(8, false, 7))->zero_point, 7);
  EXPECT_EQ(ToActivationCodes(Params(8, false, 7))->max_code, 255);
}

TEST(ActivationCodes, OfLevels) {
  QuantParams params = Params(2, true, 1);
  params.levels = {-100, 0, 3, 155};
  const auto codes = ToActivationCodes(params);
  ASSERT_TRUE(codes.has_value());
  EXPECT_EQ(codes->lowest_level, -100);
  EXPECT_EQ(codes->zero_point, 101);
  EXPECT_EQ(codes->max_code, 255);
  params.levels.back() = 156;
  EXPECT_FALSE(ToActivationCodes(params).has_value());
}

TEST(ActivationCodes, SixteenBitsHaveNone) { EXPECT_FALSE(ToActivationCodes(Params(16, true, 0)).has_value()); }

}  // namespace
}  // namespace lowbit
