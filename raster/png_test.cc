#include "raster/png.h"

#include <stb/stb_image.h>

#include <cstring>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(Png, IsReadBackPixelByPixel) {
  RgbImage image(7, 5);
  for (int y = 0; y < 5; ++y) {
    for (int x = 0; x < 7; ++x) {
      image.Fill(x, y, 1, 1, {static_cast<uint8_t>(40 * x), static_cast<uint8_t>(50 * y), static_cast<uint8_t>(x * y)});
    }
  }
  const std::string png = EncodePng(image);
  EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  int width = 0, height = 0, channels = 0;
  unsigned char* pixels = stbi_load_from_memory(reinterpret_cast<const unsigned char*>(png.data()),
                                                static_cast<int>(png.size()), &width, &height, &channels, 0);
  ASSERT_NE(pixels, nullptr) << stbi_failure_reason();
  EXPECT_EQ(width, 7);
  EXPECT_EQ(height, 5);
  EXPECT_EQ(channels, 3);
  EXPECT_EQ(std::memcmp(pixels, image.bytes().data(), image.bytes().size()), 0);
  stbi_image_free(pixels);
}

TEST(Png, TheSamePictureGivesTheSameBytes) {
  EXPECT_EQ(EncodePng(RgbImage(30, 20, {1, 2, 3})), EncodePng(RgbImage(30, 20, {1, 2, 3})));
}

TEST(PngDeathTest, NoPixel) { EXPECT_DEATH(EncodePng(RgbImage(0, 3)), "no PNG of 0 by 3"); }

}  // namespace
}  // namespace lowbit
