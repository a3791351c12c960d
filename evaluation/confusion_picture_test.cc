#include "evaluation/confusion_picture.h"

#include "gtest/gtest.h"
#include "raster/text.h"

namespace lowbit {
namespace {

ConfusionMatrix Example() {
  ConfusionMatrix confusion(2);
  for (int i = 0; i < 3; ++i) confusion.Add(0, 0);
  confusion.Add(0, 1);
  confusion.Add(1, 1);
  return confusion;
}

TEST(ConfusionPicture, TheDarkerTheLargerTheShareOfTheRow) {
  const RgbImage image = ConfusionPicture("t", Example(), {"a", "bc"});
  // Margin 12, the longer name, gap 8; above also the title, 24 and a gap of 8. A cell's corner has no text on it.
  const int name = TextWidth("bc", 2);
  const int left = 12 + name + 8, top = 12 + 32 + name + 8;
  EXPECT_EQ(image.at(left + 72 + 1, top + 48 + 1), (Color{8, 64, 129}));  // 1 of 1
  EXPECT_EQ(image.at(left + 1, top + 48 + 1), kWhite);                    // 0 of 1
  EXPECT_EQ(image.at(left + 72 + 1, top + 1), (Color{132, 160, 192}));    // 1 of 4: half way to the darkest
  EXPECT_EQ(image.at(left + 1, top + 1), (Color{41, 90, 146}));           // 3 of 4: sqrt(3) / 2
  EXPECT_EQ(image.width(), std::max(left + 2 * 72 + 12, 24 + TextWidth("rows: label, columns: prediction", 1)));
  EXPECT_EQ(image.height(), top + 2 * 48 + 12 + 12 + 8);
}

TEST(ConfusionPicture, NumbersStandInTheCells) {
  const RgbImage image = ConfusionPicture("t", Example(), {"a", "bc"});
  const int name = TextWidth("bc", 2);
  const int left = 12 + name + 8, top = 12 + 32 + name + 8;
  // "3" and "75.0 %", in white on a dark cell.
  RgbImage cell(71, 47, {41, 90, 146});
  DrawText((72 - TextWidth("3", 2)) / 2, 8, "3", 2, kWhite, &cell);
  DrawText((72 - TextWidth("75.0 %", 1)) / 2, 32, "75.0 %", 1, kWhite, &cell);
  for (int y = 0; y < 47; ++y) {
    for (int x = 0; x < 71; ++x) ASSERT_EQ(image.at(left + x, top + y), cell.at(x, y)) << x << ", " << y;
  }
}

TEST(ConfusionPicture, AClassWithoutImagesIsWhite) {
  ConfusionMatrix confusion(2);
  confusion.Add(0, 0);
  const RgbImage image = ConfusionPicture("t", confusion, {"a", "b"});
  const int name = TextWidth("b", 2);
  EXPECT_EQ(image.at(12 + name + 8 + 72 + 1, 12 + 32 + name + 8 + 48 + 1), kWhite);
}

TEST(ConfusionPicture, ManyClassesStaySmall) {
  for (const int classes : {31, 100, 150, 151, 1000}) {
    const RgbImage image =
        ConfusionPicture("t", ConfusionMatrix(classes), std::vector<std::string>(static_cast<size_t>(classes), "name"));
    EXPECT_LE(image.width(), std::max(2200, classes + 100)) << classes;
    EXPECT_GE(image.width(), classes) << classes;
  }
}

TEST(ConfusionPicture, ALongTitleIsShownInFull) {
  const std::string title(80, 'W');
  EXPECT_EQ(ConfusionPicture(title, Example(), {"a", "b"}).width(), 24 + TextWidth(title, 2));
}

}  // namespace
}  // namespace lowbit
