#ifndef LOWBIT_RASTER_TEXT_H_
#define LOWBIT_RASTER_TEXT_H_

#include "absl/strings/string_view.h"
#include "raster/rgb_image.h"

namespace lowbit {

// A line of text in a small built-in font. It knows ASCII; every other character, however many bytes of UTF-8 it takes,
// is drawn as "?". At scale 1 strokes are one pixel wide and a line is kTextHeight pixels high, descenders and a pixel
// of space below included.
constexpr int kTextHeight = 12;

int TextWidth(absl::string_view text, int scale);

// (x, y) is the upper left corner.
void DrawText(int x, int y, absl::string_view text, int scale, Color color, RgbImage* image);

}  // namespace lowbit

#endif  // LOWBIT_RASTER_TEXT_H_
