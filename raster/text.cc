#include "raster/text.h"

#include <stb/stb_easy_font.h>

#include <cstring>
#include <string>
#include <vector>

namespace lowbit {
namespace {

// What the font has, for it looks up others outside of its tables.
std::string Drawable(absl::string_view text) {
  std::string drawable;
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    const bool continues = (byte & 0xc0) == 0x80;  // a character's second byte and those after it
    if (continues) continue;
    drawable += byte >= ' ' && byte <= '~' ? c : '?';
  }
  return drawable;
}

}  // namespace

int TextWidth(absl::string_view text, int scale) {
  std::string drawable = Drawable(text);
  return stb_easy_font_width(drawable.data()) * scale;
}

void DrawText(int x, int y, absl::string_view text, int scale, Color color, RgbImage* image) {
  // A character is some rectangles, four corners each: x, y, z in float and four bytes of colour.
  constexpr size_t kCorner = 16;
  constexpr size_t kMostRectangles = 24;  // of one character
  std::string drawable = Drawable(text);
  std::vector<char> corners(drawable.size() * kMostRectangles * 4 * kCorner);
  const int rectangles =
      stb_easy_font_print(0, 0, drawable.data(), nullptr, corners.data(), static_cast<int>(corners.size()));
  for (int i = 0; i < rectangles; ++i) {
    float from[2], to[2];  // the first corner and the one across
    std::memcpy(from, &corners[static_cast<size_t>(4 * i) * kCorner], sizeof(from));
    std::memcpy(to, &corners[static_cast<size_t>(4 * i + 2) * kCorner], sizeof(to));
    const int left = static_cast<int>(from[0]), top = static_cast<int>(from[1]);
    const int width = static_cast<int>(to[0]) - left, height = static_cast<int>(to[1]) - top;
    image->Fill(x + left * scale, y + top * scale, width * scale, height * scale, color);
  }
}

}  // namespace lowbit
