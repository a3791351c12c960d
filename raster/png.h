#ifndef LOWBIT_RASTER_PNG_H_
#define LOWBIT_RASTER_PNG_H_

#include <string>

#include "raster/rgb_image.h"

namespace lowbit {

// A PNG file of at least one pixel: 8 bits each of red, green and blue.
std::string EncodePng(const RgbImage& image);

}  // namespace lowbit

#endif  // LOWBIT_RASTER_PNG_H_
