#include "raster/png.h"

#include <stb/stb_image_write.h>

#include "base/check.h"

namespace lowbit {

std::string EncodePng(const RgbImage& image) {
  LOWBIT_CHECK(image.width() > 0 && image.height() > 0, "no PNG of ", image.width(), " by ", image.height());
  std::string png;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<size_t>(size));
  };
  const int encoded =
      stbi_write_png_to_func(append, &png, image.width(), image.height(), 3, image.bytes().data(), image.width() * 3);
  LOWBIT_CHECK(encoded != 0, "no memory for a PNG of ", image.width(), " by ", image.height(), " pixels");
  return png;
}

}  // namespace lowbit
