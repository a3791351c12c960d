#include "data/color.h"

#include <algorithm>

namespace lowbit {
namespace {

// PIL's Image.blend of one value: from + factor * (to - from) in single precision, clamped, cut off.
uint8_t Blend(int from, int to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return static_cast<uint8_t>(std::min(std::max(value, 0.0f), 255.0f));
}

// All values are blended from one and the same: 256 results at most.
void BlendFrom(uint8_t from, float factor, int64_t size, uint8_t* values) {
  uint8_t table[256];
  for (int v = 0; v < 256; ++v) table[v] = Blend(from, v, factor);
  for (int64_t i = 0; i < size; ++i) values[i] = table[values[i]];
}

}  // namespace

void AdjustBrightness(double factor, int64_t area, uint8_t* rgb) {
  BlendFrom(0, static_cast<float>(factor), 3 * area, rgb);
}

void AdjustContrast(double factor, int64_t area, uint8_t* rgb) {
  int64_t sum = 0;
  for (int64_t i = 0; i < area; ++i) sum += Luma(rgb[i], rgb[area + i], rgb[2 * area + i]);
  const double mean = static_cast<double>(sum) / static_cast<double>(area);
  BlendFrom(static_cast<uint8_t>(mean + 0.5), static_cast<float>(factor), 3 * area, rgb);
}

void AdjustSaturation(double factor, int64_t area, uint8_t* rgb) {
  const float single = static_cast<float>(factor);
  uint8_t* red = rgb;
  uint8_t* green = rgb + area;
  uint8_t* blue = rgb + 2 * area;
  for (int64_t i = 0; i < area; ++i) {
    const uint8_t luma = Luma(red[i], green[i], blue[i]);
    red[i] = Blend(luma, red[i], single);
    green[i] = Blend(luma, green[i], single);
    blue[i] = Blend(luma, blue[i], single);
  }
}

// As Python's colorsys.rgb_to_hsv, each result times 255 and cut off. Where PIL's C computes in double or in single
// precision, so does this: now and then the last step hangs on it.
std::array<uint8_t, 3> RgbToHsv(uint8_t red, uint8_t green, uint8_t blue) {
  const uint8_t highest = std::max(red, std::max(green, blue));
  const uint8_t lowest = std::min(red, std::min(green, blue));
  if (highest == lowest) return {0, 0, highest};
  const float chroma = static_cast<float>(highest - lowest);
  const float saturation = chroma / static_cast<float>(highest);
  // Distance of each channel from the highest one, in [0, 1].
  const float from_red = static_cast<float>(highest - red) / chroma;
  const float from_green = static_cast<float>(highest - green) / chroma;
  const float from_blue = static_cast<float>(highest - blue) / chroma;
  float sixths;  // In [-1, 5].
  if (red == highest) {
    sixths = from_blue - from_green;
  } else if (green == highest) {
    sixths = static_cast<float>(2.0 + from_red - from_blue);
  } else {
    sixths = static_cast<float>(4.0 + from_green - from_red);
  }
  double turns = sixths / 6.0 + 1.0;  // In [5/6, 11/6]; its fraction is wanted.
  if (turns >= 1.0) turns -= 1.0;
  const float hue = static_cast<float>(turns);
  return {static_cast<uint8_t>(hue * 255.0), static_cast<uint8_t>(saturation * 255.0), highest};
}

// As Python's colorsys.hsv_to_rgb, rounded to the nearest.
std::array<uint8_t, 3> HsvToRgb(uint8_t hue, uint8_t saturation, uint8_t value) {
  if (saturation == 0) return {value, value, value};
  const double sixths = static_cast<float>(hue) * 6.0 / 255.0;
  const int sector = static_cast<int>(sixths);
  const float f = static_cast<float>(sixths - static_cast<float>(sector));
  const float s = static_cast<float>(static_cast<float>(saturation) / 255.0);
  const auto round = [](double x) { return static_cast<uint8_t>(static_cast<int>(x + 0.5)); };
  const uint8_t p = round(value * (1.0 - s));
  const uint8_t q = round(value * (1.0 - s * f));
  const uint8_t t = round(value * (1.0 - s * (1.0 - f)));
  switch (sector % 6) {
    case 0:
      return {value, t, p};
    case 1:
      return {q, value, p};
    case 2:
      return {p, value, t};
    case 3:
      return {p, q, value};
    case 4:
      return {t, p, value};
    default:
      return {value, p, q};
  }
}

void AdjustHue(double turns, int64_t area, uint8_t* rgb) {
  const auto shift = static_cast<uint8_t>(static_cast<int>(turns * 255.0));  // Wraps around, as the hue does.
  for (int64_t i = 0; i < area; ++i) {
    uint8_t& red = rgb[i];
    uint8_t& green = rgb[area + i];
    uint8_t& blue = rgb[2 * area + i];
    const auto [h, s, v] = RgbToHsv(red, green, blue);
    const std::array<uint8_t, 3> turned = HsvToRgb(static_cast<uint8_t>(h + shift), s, v);
    red = turned[0];
    green = turned[1];
    blue = turned[2];
  }
}

}  // namespace lowbit
