#include "raster/contact_sheet.h"

#include "gtest/gtest.h"
#include "raster/text.h"

namespace lowbit {
namespace {

constexpr Color kRed = {255, 0, 0};
constexpr Color kGreen = {0, 255, 0};

TEST(ContactSheet, PicturesAreEnlargedAndSetSideBySide) {
  const RgbImage sheet = ContactSheet("", {{RgbImage(32, 32, kRed), {"cat"}}, {RgbImage(32, 32, kGreen), {"dog"}}});
  // Margins of 16; pictures of 192; below them 6 and a line of 24.
  EXPECT_EQ(sheet.width(), 16 + 2 * (192 + 16));
  EXPECT_EQ(sheet.height(), 16 + 192 + 6 + 24 + 16);
  EXPECT_EQ(sheet.at(15, 16), kWhite);
  EXPECT_EQ(sheet.at(16, 16), kRed);
  EXPECT_EQ(sheet.at(16 + 191, 16 + 191), kRed);
  EXPECT_EQ(sheet.at(16 + 192, 16), kWhite);
  EXPECT_EQ(sheet.at(16 + 192 + 16, 16), kGreen);
}

TEST(ContactSheet, CaptionsAreShownInFull) {
  const std::string longest = "automobile, said airplane with 99.8 %";
  const RgbImage sheet = ContactSheet("", {{RgbImage(8, 8, kRed), {"a", longest}}});
  EXPECT_EQ(sheet.width(), 32 + TextWidth(longest, 2));
  // What lies below the picture is the caption, pixel by pixel.
  RgbImage expected(sheet.width(), 2 * 24 + 16);
  DrawText(16, 0, "a", 2, {32, 32, 32}, &expected);
  DrawText(16, 24, longest, 2, {32, 32, 32}, &expected);
  for (int y = 0; y < expected.height(); ++y) {
    for (int x = 0; x < expected.width(); ++x) {
      ASSERT_EQ(sheet.at(x, sheet.height() - expected.height() + y), expected.at(x, y)) << x << ", " << y;
    }
  }
}

TEST(ContactSheet, FourTilesMakeOneRowAndTenTwo) {
  EXPECT_EQ(ContactSheet("", std::vector<Tile>(4, {RgbImage(32, 32), {}})).width(), 16 + 4 * (192 + 16));
  const std::vector<Tile> tiles(10, {RgbImage(32, 32, kRed), {}});
  const RgbImage sheet = ContactSheet("title", tiles);
  EXPECT_EQ(sheet.width(), 16 + 5 * (192 + 16));
  EXPECT_EQ(sheet.height(), 16 + (36 + 6) + 2 * (192 + 6 + 16));
}

TEST(ContactSheet, ALongTitleOrNoTileIsNoProblem) {
  const std::string title(60, 'W');
  EXPECT_EQ(ContactSheet(title, {{RgbImage(4, 4), {}}}).width(), 32 + TextWidth(title, 3));
  EXPECT_EQ(ContactSheet("", {}).height(), 16);
  EXPECT_EQ(ContactSheet("none", {}).width(), 32 + TextWidth("none", 3));
}

TEST(ContactSheet, LargePicturesStayAsTheyAre) {
  EXPECT_EQ(ContactSheet("", {{RgbImage(224, 224, kRed), {}}}).width(), 32 + 224);
}

}  // namespace
}  // namespace lowbit
