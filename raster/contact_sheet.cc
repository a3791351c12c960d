#include "raster/contact_sheet.h"

#include <algorithm>
#include <cmath>

#include "raster/text.h"

namespace lowbit {
namespace {

constexpr int kWantedSide = 192;
constexpr int kMargin = 16;     // around the sheet and between tiles
constexpr int kCaptionGap = 6;  // between a picture and its caption
constexpr int kCaptionScale = 2;
constexpr int kTitleScale = 3;
constexpr Color kInk = {32, 32, 32};

int Enlargement(const RgbImage& image) {
  return std::max(1, kWantedSide / std::max({image.width(), image.height(), 1}));
}

}  // namespace

RgbImage ContactSheet(const std::string& title, const std::vector<Tile>& tiles) {
  int width = 0, picture_height = 0, caption_lines = 0;
  for (const Tile& tile : tiles) {
    const int factor = Enlargement(tile.image);
    width = std::max(width, tile.image.width() * factor);
    picture_height = std::max(picture_height, tile.image.height() * factor);
    caption_lines = std::max(caption_lines, static_cast<int>(tile.caption.size()));
    for (const std::string& line : tile.caption) width = std::max(width, TextWidth(line, kCaptionScale));
  }
  const int line_height = kTextHeight * kCaptionScale;
  const int height = picture_height + kCaptionGap + caption_lines * line_height;
  const int count = static_cast<int>(tiles.size());
  // Some twice as many tiles side by side as above each other: screens are wide.
  const int rows = std::max(1, static_cast<int>(std::lround(std::sqrt(count / 2.0))));
  const int columns = std::max(1, (count + rows - 1) / rows);
  const int title_height = title.empty() ? 0 : kTextHeight * kTitleScale + kCaptionGap;

  RgbImage sheet(kMargin + std::max(columns * (width + kMargin), TextWidth(title, kTitleScale) + kMargin),
                 kMargin + title_height + (count + columns - 1) / columns * (height + kMargin));
  DrawText(kMargin, kMargin, title, kTitleScale, kInk, &sheet);
  for (int i = 0; i < count; ++i) {
    const Tile& tile = tiles[static_cast<size_t>(i)];
    const int x = kMargin + i % columns * (width + kMargin);
    const int y = kMargin + title_height + i / columns * (height + kMargin);
    sheet.Draw(x, y, Enlarge(tile.image, Enlargement(tile.image)));
    for (size_t line = 0; line < tile.caption.size(); ++line) {
      DrawText(x, y + picture_height + kCaptionGap + static_cast<int>(line) * line_height, tile.caption[line],
               kCaptionScale, kInk, &sheet);
    }
  }
  return sheet;
}

}  // namespace lowbit
