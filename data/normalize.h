#ifndef LOWBIT_DATA_NORMALIZE_H_
#define LOWBIT_DATA_NORMALIZE_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset.h"

namespace lowbit {

// A network's input is (value / 255 - mean[c]) / std[c] for a value of channel c. The defaults are the statistics of
// the CIFAR-10 training images.
struct Normalization {
  std::vector<float> mean = {0.4914f, 0.4822f, 0.4465f};
  std::vector<float> std = {0.247f, 0.243f, 0.261f};
};

// The formula for images of one shape. An 8-bit value has only 256 results in each channel: they are computed once.
class Normalizer {
 public:
  // InvalidArgument if there is not one mean and one std for each channel, or if one is not finite, or a std not
  // positive.
  static absl::StatusOr<Normalizer> Create(const Normalization& normalization, const ImageShape& shape);

  // Both have shape.size() values, in the order channels, rows, columns.
  void Apply(const uint8_t* chw, float* out) const;

 private:
  Normalizer() = default;

  int64_t area_ = 0;
  std::vector<std::array<float, 256>> tables_;  // One for each channel.
};

}  // namespace lowbit

#endif  // LOWBIT_DATA_NORMALIZE_H_
