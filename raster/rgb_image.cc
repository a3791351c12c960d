#include "raster/rgb_image.h"

#include <algorithm>

#include "base/check.h"

namespace lowbit {

RgbImage::RgbImage(int width, int height, Color background) : width_(width), height_(height) {
  LOWBIT_CHECK(width >= 0 && height >= 0, "a picture of ", width, " by ", height);
  bytes_.resize(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  Fill(0, 0, width, height, background);
}

Color RgbImage::at(int x, int y) const {
  LOWBIT_CHECK(x >= 0 && x < width_ && y >= 0 && y < height_, "(", x, ", ", y, ") of ", width_, " by ", height_);
  const uint8_t* pixel = &bytes_[(static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x)) * 3];
  return {pixel[0], pixel[1], pixel[2]};
}

void RgbImage::Fill(int x, int y, int width, int height, Color color) {
  const int right = std::min(x + width, width_);
  const int bottom = std::min(y + height, height_);
  for (int row = std::max(y, 0); row < bottom; ++row) {
    for (int column = std::max(x, 0); column < right; ++column) {
      uint8_t* pixel =
          &bytes_[(static_cast<size_t>(row) * static_cast<size_t>(width_) + static_cast<size_t>(column)) * 3];
      pixel[0] = color.red;
      pixel[1] = color.green;
      pixel[2] = color.blue;
    }
  }
}

void RgbImage::Draw(int x, int y, const RgbImage& image) {
  for (int row = 0; row < image.height(); ++row) {
    for (int column = 0; column < image.width(); ++column) Fill(x + column, y + row, 1, 1, image.at(column, row));
  }
}

RgbImage FromPlanes(const uint8_t* chw, int channels, int height, int width) {
  RgbImage image(width, height);
  const int area = height * width;
  const int green = channels == 3 ? area : 0;
  const int blue = channels == 3 ? 2 * area : 0;
  for (int i = 0; i < area; ++i) image.Fill(i % width, i / width, 1, 1, {chw[i], chw[green + i], chw[blue + i]});
  return image;
}

RgbImage Enlarge(const RgbImage& image, int factor) {
  LOWBIT_CHECK(factor >= 1, "enlarged ", factor, " times");
  RgbImage large(image.width() * factor, image.height() * factor);
  for (int y = 0; y < image.height(); ++y) {
    for (int x = 0; x < image.width(); ++x) large.Fill(x * factor, y * factor, factor, factor, image.at(x, y));
  }
  return large;
}

RgbImage TurnLeft(const RgbImage& image) {
  RgbImage turned(image.height(), image.width());
  for (int y = 0; y < image.height(); ++y) {
    for (int x = 0; x < image.width(); ++x) turned.Fill(y, image.width() - 1 - x, 1, 1, image.at(x, y));
  }
  return turned;
}

}  // namespace lowbit
