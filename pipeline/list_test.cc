#include "pipeline/list.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(ListText, ShowsStepsQuantizersAndDefaults) {
  const std::string text = ListText();
  EXPECT_THAT(text, testing::HasSubstr("    calibrate: CalibrateStep"));
  EXPECT_THAT(text, testing::HasSubstr("      num_images: int32 = 512"));
  EXPECT_THAT(text, testing::HasSubstr("shortcut: OPTION_A | OPTION_B = OPTION_A"));
  EXPECT_THAT(text, testing::HasSubstr("\n  min_max    options: lowbit.MinMaxOptions\n"));
  EXPECT_THAT(text, testing::HasSubstr("\n  per_channel    options: lowbit.PerChannelOptions\n"));
  EXPECT_THAT(text, testing::HasSubstr("min_scale: float = 1e-05"));
  EXPECT_THAT(text, testing::HasSubstr("  weights: string = \"\"\n"));
  // Its preset decides on it.
  EXPECT_THAT(text, testing::HasSubstr("      iterations: int32\n"));
}

}  // namespace
}  // namespace lowbit
