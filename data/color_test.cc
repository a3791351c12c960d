#include "data/color.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using Pixel = std::array<uint8_t, 3>;

// `pixels` as the functions want them: all reds, all greens, all blues.
std::vector<uint8_t> Planes(const std::vector<Pixel>& pixels) {
  std::vector<uint8_t> planes;
  for (size_t c = 0; c < 3; ++c) {
    for (const Pixel& pixel : pixels) planes.push_back(pixel[c]);
  }
  return planes;
}

std::vector<Pixel> Adjusted(void (*adjust)(double, int64_t, uint8_t*), double amount,
                            const std::vector<Pixel>& pixels) {
  std::vector<uint8_t> planes = Planes(pixels);
  const size_t area = pixels.size();
  adjust(amount, static_cast<int64_t>(area), planes.data());
  std::vector<Pixel> result;
  for (size_t i = 0; i < area; ++i) result.push_back({planes[i], planes[area + i], planes[2 * area + i]});
  return result;
}

TEST(LumaTest, WeighsTheChannelsAndRoundsToTheNearest) {
  EXPECT_EQ(Luma(255, 0, 0), 76);   // 0.299 * 255 = 76.25
  EXPECT_EQ(Luma(0, 255, 0), 150);  // 0.587 * 255 = 149.69
  EXPECT_EQ(Luma(0, 0, 255), 29);   // 0.114 * 255 = 29.07
  for (int v = 0; v < 256; ++v) EXPECT_EQ(Luma(v, v, v), v);
}

TEST(AdjustBrightnessTest, MultipliesAndCutsOff) {
  EXPECT_THAT(Adjusted(AdjustBrightness, 0.5, {{101, 0, 255}}), ElementsAre(Pixel{50, 0, 127}));
  EXPECT_THAT(Adjusted(AdjustBrightness, 1.5, {{101, 200, 1}}), ElementsAre(Pixel{151, 255, 1}));
  EXPECT_THAT(Adjusted(AdjustBrightness, 0.0, {{101, 200, 1}}), ElementsAre(Pixel{0, 0, 0}));
}

TEST(AdjustContrastTest, MovesAwayFromOrTowardsTheMean) {
  // Lumas 0 and 255: the mean is 127.5, which becomes 128.
  const std::vector<Pixel> image = {{0, 0, 0}, {255, 255, 255}};
  EXPECT_THAT(Adjusted(AdjustContrast, 0.0, image), ElementsAre(Pixel{128, 128, 128}, Pixel{128, 128, 128}));
  // 128 - 64, and 128 + 63.5 cut off.
  EXPECT_THAT(Adjusted(AdjustContrast, 0.5, image), ElementsAre(Pixel{64, 64, 64}, Pixel{191, 191, 191}));
  EXPECT_THAT(Adjusted(AdjustContrast, 2.0, image), ElementsAre(Pixel{0, 0, 0}, Pixel{255, 255, 255}));
}

TEST(AdjustContrastTest, MeanIsTheLumasAndOneForAllChannels) {
  // Lumas 76 and 29: the mean is 52.5, so 53. 53 + 0.5 * 202 = 154, 53 - 26.5 = 26.5.
  EXPECT_THAT(Adjusted(AdjustContrast, 0.5, {{255, 0, 0}, {0, 0, 255}}),
              ElementsAre(Pixel{154, 26, 26}, Pixel{26, 26, 154}));
}

TEST(AdjustSaturationTest, MovesAwayFromOrTowardsThePixelsLuma) {
  const std::vector<Pixel> image = {{255, 0, 0}, {90, 90, 90}};  // Lumas 76 and 90.
  EXPECT_THAT(Adjusted(AdjustSaturation, 0.0, image), ElementsAre(Pixel{76, 76, 76}, Pixel{90, 90, 90}));
  EXPECT_THAT(Adjusted(AdjustSaturation, 0.5, image), ElementsAre(Pixel{165, 38, 38}, Pixel{90, 90, 90}));
  EXPECT_THAT(Adjusted(AdjustSaturation, 2.0, image), ElementsAre(Pixel{255, 0, 0}, Pixel{90, 90, 90}));
  // Luma (100 * 19595 + 150 * 38470 + 50 * 7471 + 32768) / 65536 = 124.14; 124 + 1.5 * {-24, 26, -74}.
  EXPECT_THAT(Adjusted(AdjustSaturation, 1.5, {{100, 150, 50}}), ElementsAre(Pixel{88, 163, 13}));
}

TEST(ColorTest, FactorOneChangesNothing) {
  std::vector<Pixel> image;
  for (int i = 0; i < 256; ++i) {
    image.push_back({static_cast<uint8_t>(i), static_cast<uint8_t>(i * 7), static_cast<uint8_t>(255 - i * 3)});
  }
  for (const auto adjust : {AdjustBrightness, AdjustContrast, AdjustSaturation}) {
    EXPECT_EQ(Adjusted(adjust, 1.0, image), image);
  }
}

TEST(RgbToHsvTest, KnownColors) {
  EXPECT_EQ(RgbToHsv(255, 0, 0), (Pixel{0, 255, 255}));
  EXPECT_EQ(RgbToHsv(255, 255, 0), (Pixel{42, 255, 255}));   // 255 / 6 = 42.5
  EXPECT_EQ(RgbToHsv(0, 255, 0), (Pixel{85, 255, 255}));     // 255 / 3
  EXPECT_EQ(RgbToHsv(0, 255, 255), (Pixel{127, 255, 255}));  // 127.5
  EXPECT_EQ(RgbToHsv(0, 0, 255), (Pixel{170, 255, 255}));
  EXPECT_EQ(RgbToHsv(255, 0, 255), (Pixel{212, 255, 255}));  // 212.5
  EXPECT_EQ(RgbToHsv(77, 77, 77), (Pixel{0, 0, 77}));
  EXPECT_EQ(RgbToHsv(0, 0, 0), (Pixel{0, 0, 0}));
  // Saturation 150 / 200 * 255 = 191.25; hue (150 - 100) / 150 / 6 * 255 = 14.17.
  EXPECT_EQ(RgbToHsv(200, 100, 50), (Pixel{14, 191, 200}));
  // A hue just before the circle closes: (0 - 1 / 255) / 6 of a turn, so 254.83.
  EXPECT_EQ(RgbToHsv(255, 0, 1), (Pixel{254, 255, 255}));
}

TEST(HsvToRgbTest, KnownColorsInEverySector) {
  EXPECT_EQ(HsvToRgb(0, 255, 255), (Pixel{255, 0, 0}));
  EXPECT_EQ(HsvToRgb(42, 255, 255), (Pixel{255, 252, 0}));  // 0.988 of sector 0
  EXPECT_EQ(HsvToRgb(60, 255, 255), (Pixel{150, 255, 0}));  // 0.412 of sector 1
  EXPECT_EQ(HsvToRgb(85, 255, 255), (Pixel{0, 255, 0}));
  EXPECT_EQ(HsvToRgb(127, 255, 255), (Pixel{0, 255, 252}));  // 0.988 of sector 2
  EXPECT_EQ(HsvToRgb(150, 255, 255), (Pixel{0, 120, 255}));  // 0.529 of sector 3
  EXPECT_EQ(HsvToRgb(170, 255, 255), (Pixel{0, 0, 255}));
  EXPECT_EQ(HsvToRgb(212, 255, 255), (Pixel{252, 0, 255}));  // 0.988 of sector 4
  EXPECT_EQ(HsvToRgb(230, 255, 255), (Pixel{255, 0, 150}));  // 0.412 of sector 5
  EXPECT_EQ(HsvToRgb(255, 255, 255), (Pixel{255, 0, 0}));    // The circle is closed.
  EXPECT_EQ(HsvToRgb(123, 0, 77), (Pixel{77, 77, 77}));
  // p = 200 * (1 - 191 / 255) = 50.2; t = 200 * (1 - 191 / 255 * (1 - 0.3294)) = 99.5.
  EXPECT_EQ(HsvToRgb(14, 191, 200), (Pixel{200, 100, 50}));
}

TEST(AdjustHueTest, TurnsByWholeStepsCutOffTowardsZero) {
  // 0.01 * 255 = 2.55: 2 steps, 0.047 of sector 0.
  EXPECT_THAT(Adjusted(AdjustHue, 0.01, {{255, 0, 0}, {90, 90, 90}}),
              ElementsAre(Pixel{255, 12, 0}, Pixel{90, 90, 90}));
  // 0.5 * 255 = 127.5: 127 steps, from hue 0 to 127, and from 170 to 297, which is 41 (0.965 of sector 0).
  EXPECT_THAT(Adjusted(AdjustHue, 0.5, {{255, 0, 0}, {0, 0, 255}}),
              ElementsAre(Pixel{0, 255, 252}, Pixel{255, 246, 0}));
  // -127 steps: from hue 0 to 129 (0.035 of sector 3).
  EXPECT_THAT(Adjusted(AdjustHue, -0.5, {{255, 0, 0}}), ElementsAre(Pixel{0, 246, 255}));
}

TEST(AdjustHueTest, NoStepStillGoesThroughEightBits) {
  // 0.003 * 255 = 0.765 and -0.765: no step. Yellow's hue is 42.5, of which 42 is kept.
  for (const double turns : {0.0, 0.003, -0.003}) {
    EXPECT_THAT(Adjusted(AdjustHue, turns, {{255, 255, 0}, {255, 0, 0}}),
                ElementsAre(Pixel{255, 252, 0}, Pixel{255, 0, 0}));
  }
}

}  // namespace
}  // namespace lowbit
