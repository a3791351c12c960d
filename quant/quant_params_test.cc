#include "quant/quant_params.h"

#include <limits>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

QuantParams Valid(int bits) {
  QuantParams params;
  params.bits = bits;
  params.scale = {0.5f};
  params.zero_point = {0};
  return params;
}

TEST(QuantParamsTest, CodesLieInTheirRange) {
  const struct {
    int bits;
    bool is_signed;
    int32_t qmin, qmax;
  } cases[] = {{1, true, -1, 0},     {1, false, 0, 1},   {2, true, -2, 1},          {3, false, 0, 7},
               {8, true, -128, 127}, {8, false, 0, 255}, {16, true, -32768, 32767}, {16, false, 0, 65535}};
  for (const auto& c : cases) {
    QuantParams params = Valid(c.bits);
    params.is_signed = c.is_signed;
    EXPECT_EQ(params.qmin(), c.qmin) << c.bits;
    EXPECT_EQ(params.qmax(), c.qmax) << c.bits;
    EXPECT_TRUE(params.Validate().ok()) << c.bits;
  }
}

TEST(QuantParamsTest, ValidateSaysWhatIsWrong) {
  QuantParams params = Valid(9);
  EXPECT_EQ(params.Validate().message(), "bits must be 1 to 8, or 16; got 9");

  params = Valid(8);
  params.scale.clear();
  EXPECT_EQ(params.Validate().message(),
            "there must be as many zero points as scales, at least one; got 0 scales and 1 zero points");

  params = Valid(8);
  params.scale = {1, 0};
  params.zero_point = {0, 0};
  EXPECT_EQ(params.Validate().message(), "scale[1] must be finite and above 0, got 0");
  params.scale[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(params.Validate().message(), "scale[1] must be finite and above 0, got nan");
  params.scale[1] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(params.Validate().message(), "scale[1] must be finite and above 0, got inf");
  params.scale[1] = -1;
  EXPECT_EQ(params.Validate().message(), "scale[1] must be finite and above 0, got -1");
}

TEST(QuantParamsTest, ZeroPointsMayLieOneGridOutside) {
  QuantParams params = Valid(2);  // codes -2 to 1
  for (const float inside : {-6.0f, -0.5f, 5.0f}) {
    params.zero_point = {inside};
    EXPECT_TRUE(params.Validate().ok()) << inside;
  }
  params.zero_point = {5.25f};
  EXPECT_EQ(params.Validate().message(), "zero_point[0] must be in [-6, 5] (one grid around the codes), got 5.25");
  params.zero_point = {std::numeric_limits<float>::quiet_NaN()};
  EXPECT_EQ(params.Validate().message(), "zero_point[0] must be in [-6, 5] (one grid around the codes), got nan");
}

TEST(QuantParamsTest, LevelsEndTheCodes) {
  QuantParams params = Valid(2);
  params.levels = {-4, 0, 5};
  EXPECT_TRUE(params.Validate().ok()) << params.Validate();
  EXPECT_FALSE(params.is_uniform());
  EXPECT_EQ(params.qmin(), -2);
  EXPECT_EQ(params.qmax(), 0);
  EXPECT_NE(params, Valid(2));

  params.zero_point = {14.5f};
  EXPECT_EQ(params.Validate().message(), "zero_point[0] must be in [-13, 14] (one grid around the codes), got 14.5");
  params.zero_point = {0};
  params.levels = {-4, 0, 5, 6, 7};
  EXPECT_EQ(params.Validate().message(), "there must be 2 to 4 levels, got 5");
  params.levels = {1};
  EXPECT_EQ(params.Validate().message(), "there must be 2 to 4 levels, got 1");
  params.levels = {-4, 0, 0};
  EXPECT_EQ(params.Validate().message(), "levels must ascend, but levels[2] is 0 after 0");
  params.levels = {-4, 40000};
  EXPECT_EQ(params.Validate().message(), "levels[1] must be within +-32768, got 40000");
  params = Valid(16);
  params.levels = {0, 1};
  EXPECT_EQ(params.Validate().message(), "levels are for 2 to 8 bits, got 16");
}

TEST(QuantParamsTest, BasesAreOneLessThanBitsForEachScale) {
  QuantParams params = Valid(3);
  params.scale = {1, 2};
  params.zero_point = {0, 0};
  params.bases = {0.5f, 0.25f, 1, 0.125f};
  EXPECT_TRUE(params.Validate().ok()) << params.Validate();
  EXPECT_FALSE(params.is_uniform());
  params.bases[2] = 1.5f;
  EXPECT_EQ(params.Validate().message(), "bases[2] must be in (0, 1], got 1.5");
  params.bases.pop_back();
  EXPECT_EQ(params.Validate().message(), "there must be bits - 1 bases for each scale, 4; got 3");
  params.levels = {0, 1};
  EXPECT_EQ(params.Validate().message(), "there are both levels and bases");
  params = Valid(1);
  params.bases = {1};
  EXPECT_EQ(params.Validate().message(), "bases are for 2 to 8 bits, got 1");
}

TEST(QuantParamsTest, SignParamsAreTwiceTheMagnitude) {
  const QuantParams params = SignParams({0.25f, 3, std::numeric_limits<float>::max()});
  EXPECT_EQ(params.bits, 1);
  EXPECT_THAT(params.scale, testing::ElementsAre(0.5f, 6, std::numeric_limits<float>::max()));
  EXPECT_THAT(params.zero_point, testing::ElementsAre(-0.5f, -0.5f, -0.5f));
  EXPECT_TRUE(params.Validate().ok());
}

TEST(QuantParamsTest, WidthsAreOneToEightAndSixteen) {
  std::vector<int> supported;
  for (int bits = -2; bits <= 33; ++bits) {
    if (CheckWidth(bits).ok()) supported.push_back(bits);
  }
  EXPECT_THAT(supported, testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 16));
  const absl::Status status = CheckWidth(12);
  EXPECT_EQ(status.message(), "must be 1 to 8, or 16; got 12");
  EXPECT_EQ(ErrorField(status), "bits");
}

TEST(QuantParamsTest, ComparesEverything) {
  const QuantParams params = Valid(8);
  EXPECT_EQ(params, Valid(8));
  EXPECT_NE(params, Valid(7));
  QuantParams other = params;
  other.is_signed = false;
  EXPECT_NE(params, other);
  other = params;
  other.scale[0] = 0.25f;
  EXPECT_NE(params, other);
  other = params;
  other.zero_point[0] = 1;
  EXPECT_NE(params, other);
}

}  // namespace
}  // namespace lowbit
