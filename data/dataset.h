#ifndef LOWBIT_DATA_DATASET_H_
#define LOWBIT_DATA_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace lowbit {

enum class Split { kTrain, kTest };

struct ImageShape {
  int channels = 0;
  int height = 0;
  int width = 0;

  // Pixels of one channel.
  int64_t area() const { return int64_t{height} * width; }
  // Values of one image.
  int64_t size() const { return channels * area(); }
};

inline bool operator==(const ImageShape& a, const ImageShape& b) {
  return a.channels == b.channels && a.height == b.height && a.width == b.width;
}
inline bool operator!=(const ImageShape& a, const ImageShape& b) { return !(a == b); }

// Labelled 8-bit images of one shape, with random access. Every method may be called from several threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;

  // Number of images.
  virtual int64_t size() const = 0;

  virtual ImageShape image_shape() const = 0;

  // One name for each class; label i is class_names()[i].
  virtual const std::vector<std::string>& class_names() const = 0;

  // Writes image `index` to `chw`, which has room for image_shape().size() values (channels, then rows, then columns;
  // 0..255), and its class, in [0, num_classes()), to `label`. OutOfRange if `index` is not in [0, size()).
  virtual absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const = 0;

  int num_classes() const { return static_cast<int>(class_names().size()); }
};

// What Get() answers for an index that is not in [0, size).
absl::Status IndexError(int64_t index, int64_t size);

}  // namespace lowbit

#endif  // LOWBIT_DATA_DATASET_H_
