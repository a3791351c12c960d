#include "raster/rgb_image.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

constexpr Color kRed = {255, 0, 0};
constexpr Color kGreen = {0, 255, 0};

TEST(RgbImage, BytesAreRowsOfRedGreenBlue) {
  RgbImage image(2, 2, {1, 2, 3});
  image.Fill(1, 0, 1, 1, {4, 5, 6});
  EXPECT_THAT(image.bytes(), ElementsAre(1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 2, 3));
  EXPECT_EQ(image.at(1, 0), (Color{4, 5, 6}));
  EXPECT_EQ(image.at(0, 1), (Color{1, 2, 3}));
}

TEST(RgbImage, WhatLiesOutsideIsCutOff) {
  RgbImage image(2, 2, kBlack);
  image.Fill(-5, -5, 6, 6, kRed);  // reaches (0, 0)
  image.Fill(1, 1, 1000, 1000, kGreen);
  image.Fill(5, 0, 1, 1, kRed);
  EXPECT_EQ(image.at(0, 0), kRed);
  EXPECT_EQ(image.at(1, 0), kBlack);
  EXPECT_EQ(image.at(0, 1), kBlack);
  EXPECT_EQ(image.at(1, 1), kGreen);
  image.Draw(1, -1, RgbImage(2, 2, kRed));  // its lower left pixel comes to (1, 0)
  EXPECT_EQ(image.at(1, 0), kRed);
  EXPECT_EQ(image.at(1, 1), kGreen);
}

TEST(RgbImage, FromPlanes) {
  const uint8_t planes[] = {10, 11, 20, 21, 30, 31};
  EXPECT_THAT(FromPlanes(planes, 3, 1, 2).bytes(), ElementsAre(10, 20, 30, 11, 21, 31));
  EXPECT_THAT(FromPlanes(planes, 1, 1, 2).bytes(), ElementsAre(10, 10, 10, 11, 11, 11));
  EXPECT_THAT(FromPlanes(planes, 2, 1, 2).bytes(), ElementsAre(10, 10, 10, 11, 11, 11));
}

TEST(RgbImage, EnlargeMakesSquares) {
  RgbImage image(2, 1, kRed);
  image.Fill(1, 0, 1, 1, kGreen);
  const RgbImage large = Enlarge(image, 3);
  ASSERT_EQ(large.width(), 6);
  ASSERT_EQ(large.height(), 3);
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 6; ++x) EXPECT_EQ(large.at(x, y), x < 3 ? kRed : kGreen) << x << ", " << y;
  }
}

TEST(RgbImage, TurnLeftBringsTheRightEndUp) {
  RgbImage image(3, 2, kBlack);
  image.Fill(2, 0, 1, 1, kRed);    // upper right
  image.Fill(0, 1, 1, 1, kGreen);  // lower left
  const RgbImage turned = TurnLeft(image);
  ASSERT_EQ(turned.width(), 2);
  ASSERT_EQ(turned.height(), 3);
  EXPECT_EQ(turned.at(0, 0), kRed);
  EXPECT_EQ(turned.at(1, 2), kGreen);
  EXPECT_EQ(turned.at(0, 2), kBlack);
}

TEST(ImageDeathTest, PixelsThatAreNotThere) {
  EXPECT_DEATH(RgbImage(2, 2).at(2, 0), "\\(2, 0\\) of 2 by 2");
  EXPECT_DEATH(RgbImage(-1, 2), "a picture of -1 by 2");
}

}  // namespace
}  // namespace lowbit
