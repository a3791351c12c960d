#ifndef LOWBIT_RUNTIME_IMAGE_FILES_H_
#define LOWBIT_RUNTIME_IMAGE_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"

namespace lowbit {

// Images of one shape as a network takes them, 8 bits a value.
struct ImageList {
  std::vector<std::string> names;  // "cat.png", "test_batch.bin[17]"
  std::vector<int32_t> labels;     // -1: not known
  std::vector<uint8_t> pixels;     // image after image, each channels, rows, columns

  int64_t size() const { return static_cast<int64_t>(names.size()); }
};

// The images of all `paths`, each of which is a picture (PNG, JPEG), a folder of such pictures, taken in the order of
// their names, or a batch of CIFAR-10 (*.bin, data/cifar10.h). Nothing is scaled: an error names the file whose images
// have another shape than `shape`, or whose labels are not those of `classes` classes, and says what was got and what
// was wanted.
absl::StatusOr<ImageList> ReadImages(const std::vector<std::string>& paths, const ImageShape& shape, int64_t classes);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_IMAGE_FILES_H_
