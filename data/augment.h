#ifndef LOWBIT_DATA_AUGMENT_H_
#define LOWBIT_DATA_AUGMENT_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "base/random.h"
#include "data/dataset.h"

namespace lowbit {

// Random training augmentation, in this order: crop, flip, colour jitter. The defaults are those of the training that
// this project started from. Semantics and rounding are torchvision's on 8-bit PIL images: RandomCrop(size,
// padding=crop_padding, padding_mode="reflect"), RandomHorizontalFlip(0.5), ColorJitter(brightness, contrast,
// saturation, hue).
struct AugmentOptions {
  // Pixels of mirrored border (the edge itself is not repeated) from which a window of the image's own size is cut, in
  // [0, min(height, width) - 1]. 0: no crop.
  int crop_padding = 4;
  // Mirror left to right with probability one half.
  bool horizontal_flip = true;
  // Factors are uniform in [max(0, 1 - x), 1 + x]; x at least 0 and no more than a float holds, and 0 turns the
  // operation off. The four operations (those that are on) run in a random order.
  double brightness = 0.3;
  double contrast = 0.3;
  double saturation = 0.3;
  // The shift is uniform in [-hue, hue], in turns of the colour circle; in [0, 0.5], 0 turns it off.
  double hue = 0.01;
};

// Are the options in range, and do they fit images of this shape? Errors carry the field (see base/field_error.h).
// Colour jitter wants three channels.
absl::Status ValidateAugment(const AugmentOptions& options, const ImageShape& shape);

// What chance decided for one image.
struct AugmentDraw {
  enum class ColorOp { kBrightness, kContrast, kSaturation, kHue };

  // The corner of the window, in [0, 2 * crop_padding], in the image with its border; crop_padding is the middle.
  int crop_padding = 0;
  int top = 0;
  int left = 0;
  bool flip = false;
  // The first `color_op_count` are applied, in this order.
  std::array<ColorOp, 4> color_ops{};
  int color_op_count = 0;
  double brightness = 1.0;
  double contrast = 1.0;
  double saturation = 1.0;
  double hue = 0.0;
};

// Draws for image `index` in `epoch`. It depends on nothing else, so an image is augmented in the same way whatever the
// batch size, the order of the images or the number of threads.
AugmentDraw DrawAugment(const AugmentOptions& options, uint64_t seed, uint64_t epoch, uint64_t index);

// Carries a draw out on one image, in place. `scratch` is working memory that is worth keeping from call to call.
void ApplyAugment(const AugmentDraw& draw, const ImageShape& shape, uint8_t* chw, std::vector<uint8_t>* scratch);

}  // namespace lowbit

#endif  // LOWBIT_DATA_AUGMENT_H_
