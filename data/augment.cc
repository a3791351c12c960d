#include "data/augment.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "data/color.h"

namespace lowbit {
namespace {

// The colour operations compute in single precision.
constexpr double kMostFactor = std::numeric_limits<float>::max();

absl::Status ValidateFactor(const char* field, double value, double limit) {
  if (value >= 0.0 && value <= limit) return absl::OkStatus();  // A NaN is not.
  if (limit == kMostFactor) {
    // Infinity times a black pixel would be no number.
    return FieldError(field, absl::StrCat(value > limit ? "must be finite in single precision" : "must be at least 0",
                                          ", got ", value));
  }
  return FieldError(field, absl::StrCat("must be in [0, ", limit, "], got ", value));
}

// Where position i of a row of `size` lies, if the row goes on beyond its ends mirrored, without repeating the edge.
int Reflect(int i, int size) {
  if (i < 0) return -i;
  if (i >= size) return 2 * (size - 1) - i;
  return i;
}

// One channel: the window at (dy, dx) of the image that is mirrored beyond its edges, itself mirrored if `flip`.
void CropFlipChannel(const uint8_t* in, const ImageShape& shape, int dy, int dx, bool flip, uint8_t* out) {
  const int width = shape.width;
  // Columns [begin, end) of the window lie inside of the image.
  const int begin = std::max(0, -dx);
  const int end = std::min(width, width - dx);
  for (int y = 0; y < shape.height; ++y) {
    const uint8_t* row = in + int64_t{Reflect(y + dy, shape.height)} * width;
    uint8_t* to = out + int64_t{y} * width;
    for (int x = 0; x < begin; ++x) to[x] = row[Reflect(x + dx, width)];
    std::memcpy(to + begin, row + begin + dx, end - begin);
    for (int x = end; x < width; ++x) to[x] = row[Reflect(x + dx, width)];
    if (flip) std::reverse(to, to + width);
  }
}

}  // namespace

absl::Status ValidateAugment(const AugmentOptions& options, const ImageShape& shape) {
  const int padding_limit = std::min(shape.height, shape.width) - 1;
  if (options.crop_padding < 0 || options.crop_padding > padding_limit) {
    return FieldError("crop_padding", absl::StrCat("must be in [0, ", padding_limit, "] for images of ", shape.height,
                                                   "x", shape.width, ", got ", options.crop_padding));
  }
  const std::pair<const char*, double> factors[] = {{"brightness", options.brightness},
                                                    {"contrast", options.contrast},
                                                    {"saturation", options.saturation},
                                                    {"hue", options.hue}};
  for (const auto& [field, value] : factors) {
    const double limit = field == factors[3].first ? 0.5 : kMostFactor;
    absl::Status status = ValidateFactor(field, value, limit);
    if (!status.ok()) return status;
    if (value > 0.0 && shape.channels != 3) {
      return FieldError(field, absl::StrCat("colour jitter wants images of 3 channels, these have ", shape.channels));
    }
  }
  return absl::OkStatus();
}

AugmentDraw DrawAugment(const AugmentOptions& options, uint64_t seed, uint64_t epoch, uint64_t index) {
  using ColorOp = AugmentDraw::ColorOp;
  Rng rng({seed, epoch, index});
  AugmentDraw draw;
  draw.crop_padding = options.crop_padding;
  // Everything is drawn, whether it is used or not: turning one operation off leaves the others as they were.
  const int64_t positions = 2 * options.crop_padding + 1;
  draw.top = static_cast<int>(rng.UniformInt(positions));
  draw.left = static_cast<int>(rng.UniformInt(positions));
  const bool flip = rng.Bernoulli(0.5);
  draw.flip = options.horizontal_flip && flip;
  draw.brightness = rng.Uniform(std::max(0.0, 1.0 - options.brightness), 1.0 + options.brightness);
  draw.contrast = rng.Uniform(std::max(0.0, 1.0 - options.contrast), 1.0 + options.contrast);
  draw.saturation = rng.Uniform(std::max(0.0, 1.0 - options.saturation), 1.0 + options.saturation);
  draw.hue = rng.Uniform(-options.hue, options.hue);

  const double strength[] = {options.brightness, options.contrast, options.saturation, options.hue};
  for (const int64_t op : rng.Permutation(4)) {
    if (strength[op] > 0.0) draw.color_ops[draw.color_op_count++] = static_cast<ColorOp>(op);
  }
  return draw;
}

void ApplyAugment(const AugmentDraw& draw, const ImageShape& shape, uint8_t* chw, std::vector<uint8_t>* scratch) {
  const int dy = draw.top - draw.crop_padding;
  const int dx = draw.left - draw.crop_padding;
  if (dy != 0 || dx != 0 || draw.flip) {
    scratch->assign(chw, chw + shape.size());
    for (int c = 0; c < shape.channels; ++c) {
      const int64_t offset = c * shape.area();
      CropFlipChannel(scratch->data() + offset, shape, dy, dx, draw.flip, chw + offset);
    }
  }
  for (int i = 0; i < draw.color_op_count; ++i) {
    switch (draw.color_ops[i]) {
      case AugmentDraw::ColorOp::kBrightness:
        AdjustBrightness(draw.brightness, shape.area(), chw);
        break;
      case AugmentDraw::ColorOp::kContrast:
        AdjustContrast(draw.contrast, shape.area(), chw);
        break;
      case AugmentDraw::ColorOp::kSaturation:
        AdjustSaturation(draw.saturation, shape.area(), chw);
        break;
      case AugmentDraw::ColorOp::kHue:
        AdjustHue(draw.hue, shape.area(), chw);
        break;
    }
  }
}

}  // namespace lowbit
