#include "data/normalize.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"

namespace lowbit {

absl::StatusOr<Normalizer> Normalizer::Create(const Normalization& normalization, const ImageShape& shape) {
  const size_t channels = shape.channels;
  if (normalization.mean.size() != channels) {
    return FieldError(
        "mean", absl::StrCat("the images have ", channels, " channels, got ", normalization.mean.size(), " values"));
  }
  if (normalization.std.size() != channels) {
    return FieldError(
        "std", absl::StrCat("the images have ", channels, " channels, got ", normalization.std.size(), " values"));
  }
  Normalizer normalizer;
  normalizer.area_ = shape.area();
  normalizer.tables_.resize(channels);
  for (size_t c = 0; c < channels; ++c) {
    const float mean = normalization.mean[c];
    const float std = normalization.std[c];
    if (!std::isfinite(mean)) {
      return FieldError(absl::StrCat("mean[", c, "]"), absl::StrCat("must be finite, got ", mean));
    }
    if (!std::isfinite(std) || std <= 0.0f) {
      return FieldError(absl::StrCat("std[", c, "]"), absl::StrCat("must be positive and finite, got ", std));
    }
    for (int value = 0; value < 256; ++value) {
      normalizer.tables_[c][value] = (static_cast<float>(value) / 255.0f - mean) / std;
    }
  }
  return normalizer;
}

void Normalizer::Apply(const uint8_t* chw, float* out) const {
  for (const std::array<float, 256>& table : tables_) {
    for (int64_t i = 0; i < area_; ++i) out[i] = table[chw[i]];
    chw += area_;
    out += area_;
  }
}

}  // namespace lowbit
