#ifndef LOWBIT_RASTER_CONTACT_SHEET_H_
#define LOWBIT_RASTER_CONTACT_SHEET_H_

#include <string>
#include <vector>

#include "raster/rgb_image.h"

namespace lowbit {

struct Tile {
  RgbImage image;
  std::vector<std::string> caption;  // lines
};

// Pictures side by side in rows, read from left to right and from top to bottom, under a title, each with its caption
// below. Small pictures are enlarged by a whole factor, to some 192 pixels; every caption is shown in full.
RgbImage ContactSheet(const std::string& title, const std::vector<Tile>& tiles);

}  // namespace lowbit

#endif  // LOWBIT_RASTER_CONTACT_SHEET_H_
