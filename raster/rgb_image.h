#ifndef LOWBIT_RASTER_RGB_IMAGE_H_
#define LOWBIT_RASTER_RGB_IMAGE_H_

#include <cstdint>
#include <vector>

namespace lowbit {

struct Color {
  uint8_t red = 0;
  uint8_t green = 0;
  uint8_t blue = 0;
};

inline bool operator==(const Color& a, const Color& b) {
  return a.red == b.red && a.green == b.green && a.blue == b.blue;
}

constexpr Color kBlack = {0, 0, 0};
constexpr Color kWhite = {255, 255, 255};

// A picture of 8-bit red, green and blue. What is drawn outside of it is cut off.
class RgbImage {
 public:
  // Both at least 0.
  RgbImage(int width, int height, Color background = kWhite);

  int width() const { return width_; }
  int height() const { return height_; }

  // Row by row from the top, three bytes each.
  const std::vector<uint8_t>& bytes() const { return bytes_; }

  // (x, y) lies in the picture.
  Color at(int x, int y) const;

  // The rectangle whose upper left corner is (x, y).
  void Fill(int x, int y, int width, int height, Color color);

  // `image` with its upper left corner at (x, y).
  void Draw(int x, int y, const RgbImage& image);

 private:
  int width_;
  int height_;
  std::vector<uint8_t> bytes_;
};

// From 8-bit planes as data sets have them: channels, then rows, then columns. Three channels are red, green and blue;
// of any other number the first one is shown in grey.
RgbImage FromPlanes(const uint8_t* chw, int channels, int height, int width);

// Every pixel becomes a square of `factor` by `factor`.
RgbImage Enlarge(const RgbImage& image, int factor);

// A quarter turn to the left: text then reads from the bottom up.
RgbImage TurnLeft(const RgbImage& image);

}  // namespace lowbit

#endif  // LOWBIT_RASTER_RGB_IMAGE_H_
