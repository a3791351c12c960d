#ifndef LOWBIT_DATA_COLOR_H_
#define LOWBIT_DATA_COLOR_H_

#include <array>
#include <cstdint>

namespace lowbit {

// The colour operations of torchvision on 8-bit PIL images, with PIL's rounding (cut off, not to the nearest). Each
// changes an image of `area` pixels in place: red, green and blue one after the other, `area` values each.

// Every value times `factor`; factor at least 0, as for the two below.
void AdjustBrightness(double factor, int64_t area, uint8_t* rgb);

// Away from (factor > 1) or towards (factor < 1) the mean of the image's luma.
void AdjustContrast(double factor, int64_t area, uint8_t* rgb);

// Away from or towards the pixel's own luma.
void AdjustSaturation(double factor, int64_t area, uint8_t* rgb);

// Around the circle of hues by `turns`, in [-0.5, 0.5]. The hue has 8 bits: the shift is turns * 255 steps, cut off
// towards 0. A shift of no step still goes through 8-bit hue, saturation and value, and so may change a value a little,
// as in PIL.
void AdjustHue(double turns, int64_t area, uint8_t* rgb);

// ITU-R 601-2 luma as PIL rounds it.
inline uint8_t Luma(uint8_t red, uint8_t green, uint8_t blue) {
  return static_cast<uint8_t>((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
}

// 8-bit hue (the circle has 255 steps), saturation and value, as PIL's mode "HSV" has them.
std::array<uint8_t, 3> RgbToHsv(uint8_t red, uint8_t green, uint8_t blue);
std::array<uint8_t, 3> HsvToRgb(uint8_t hue, uint8_t saturation, uint8_t value);

}  // namespace lowbit

#endif  // LOWBIT_DATA_COLOR_H_
