#ifndef LOWBIT_DATA_IN_MEMORY_DATASET_H_
#define LOWBIT_DATA_IN_MEMORY_DATASET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"

namespace lowbit {

// A data set that holds its images in memory.
class InMemoryDataset : public Dataset {
 public:
  // `images`: image after image, each channels, rows, columns; `labels`: one for each image. InvalidArgument if the
  // sizes do not agree or a label is not in [0, class_names.size()).
  static absl::StatusOr<std::unique_ptr<InMemoryDataset>> Create(ImageShape shape, std::vector<uint8_t> images,
                                                                 std::vector<int32_t> labels,
                                                                 std::vector<std::string> class_names);

  int64_t size() const override { return static_cast<int64_t>(labels_.size()); }
  ImageShape image_shape() const override { return shape_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override;

 private:
  InMemoryDataset(ImageShape shape, std::vector<uint8_t> images, std::vector<int32_t> labels,
                  std::vector<std::string> class_names);

  ImageShape shape_;
  std::vector<uint8_t> images_;
  std::vector<int32_t> labels_;
  std::vector<std::string> class_names_;
};

struct SyntheticOptions {
  int64_t size = 64;
  ImageShape shape = {3, 32, 32};
  int num_classes = 10;
  uint64_t seed = 0;
  // Standard deviation of each value around the class's pattern, in 8-bit steps.
  double noise = 20.0;
};

// Images that a small network can learn: each class has a random pattern of 4 x 4 pixel blocks, and an image is its
// class's pattern with noise. Labels go round: image i has label i % num_classes; the names are "class0", "class1", ...
// The patterns depend on the seed, shape and number of classes, so that two sizes share them. Options out of range
// abort.
std::unique_ptr<InMemoryDataset> MakeSyntheticDataset(const SyntheticOptions& options);

}  // namespace lowbit

#endif  // LOWBIT_DATA_IN_MEMORY_DATASET_H_
