#include "raster/text.h"

#include <string>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

// The picture in rows of "#" and ".".
std::string Drawn(absl::string_view text, int scale, int width, int height) {
  RgbImage image(width, height);
  DrawText(0, 0, text, scale, kBlack, &image);
  std::string rows;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) rows += image.at(x, y) == kBlack ? '#' : '.';
    rows += '\n';
  }
  return rows;
}

TEST(Text, DrawsLetters) {
  EXPECT_EQ(TextWidth("Ti", 1), 10);
  EXPECT_EQ(Drawn("T", 1, 6, 8), "#####.\n..#...\n..#...\n..#...\n..#...\n..#...\n..#...\n......\n");
}

TEST(Text, ScalesEveryStroke) {
  EXPECT_EQ(TextWidth("T", 3), 3 * TextWidth("T", 1));
  const RgbImage small = [] {
    RgbImage image(TextWidth("Rg%4", 1), kTextHeight);
    DrawText(0, 0, "Rg%4", 1, kBlack, &image);
    return image;
  }();
  RgbImage large(small.width() * 3, small.height() * 3);
  DrawText(0, 0, "Rg%4", 3, kBlack, &large);
  EXPECT_EQ(large.bytes(), Enlarge(small, 3).bytes());
}

TEST(Text, EveryCharacterKeepsToItsWidthAndTheLinesHeight) {
  for (char c = ' '; c <= '~'; ++c) {
    const std::string text(1, c);
    RgbImage image(40, 40);
    DrawText(10, 10, text, 1, kBlack, &image);
    for (int y = 0; y < 40; ++y) {
      for (int x = 0; x < 40; ++x) {
        const bool inside = x >= 10 && x < 10 + TextWidth(text, 1) && y >= 10 && y < 10 + kTextHeight;
        if (inside) continue;
        EXPECT_EQ(image.at(x, y), kWhite) << c << " at " << x - 10 << ", " << y - 10;
      }
    }
  }
}

TEST(Text, WhatTheFontLacksIsAQuestionMark) {
  EXPECT_EQ(Drawn("a\xc3\xa4 \xe2\x82\xac\x01", 1, 40, 12), Drawn("a? ??", 1, 40, 12));
  EXPECT_EQ(Drawn("a\nb", 1, 40, 30), Drawn("a?b", 1, 40, 30));
  EXPECT_EQ(TextWidth("", 2), 0);
}

TEST(Text, LongTextIsDrawnToItsEnd) {
  const std::string text(500, '%');
  RgbImage image(TextWidth(text, 1), kTextHeight);
  DrawText(0, 0, text, 1, kBlack, &image);
  RgbImage last(TextWidth("%", 1), kTextHeight);
  DrawText(0, 0, "%", 1, kBlack, &last);
  int ink = 0;
  for (int y = 0; y < kTextHeight; ++y) {
    for (int x = 0; x < last.width(); ++x) {
      EXPECT_EQ(image.at(image.width() - last.width() + x, y), last.at(x, y));
      ink += last.at(x, y) == kBlack;
    }
  }
  EXPECT_GT(ink, 5);
}

}  // namespace
}  // namespace lowbit
