#include "train/augment_options.h"

namespace lowbit {

AugmentOptions ToAugmentOptions(const AugmentConfig& config) {
  AugmentOptions options;
  options.crop_padding = config.crop_padding();
  options.horizontal_flip = config.horizontal_flip();
  options.brightness = config.brightness();
  options.contrast = config.contrast();
  options.saturation = config.saturation();
  options.hue = config.hue();
  return options;
}

}  // namespace lowbit
