#ifndef LOWBIT_TESTS_BLANK_DATASET_H_
#define LOWBIT_TESTS_BLANK_DATASET_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset.h"

namespace lowbit {

// Has the size and shape of CIFAR-10 and nothing in it: for tests that plan a run and never look at an image.
class BlankDataset : public Dataset {
 public:
  static absl::StatusOr<std::unique_ptr<Dataset>> Open(Split split) { return std::make_unique<BlankDataset>(split); }

  explicit BlankDataset(Split split) : size_(split == Split::kTrain ? 50000 : 10000) {}

  int64_t size() const override { return size_; }
  ImageShape image_shape() const override { return {3, 32, 32}; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
    if (index < 0 || index >= size_) return IndexError(index, size_);
    std::fill_n(chw, image_shape().size(), uint8_t{0});
    *label = 0;
    return absl::OkStatus();
  }

 private:
  const int64_t size_;
  const std::vector<std::string> class_names_ = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
};

}  // namespace lowbit

#endif  // LOWBIT_TESTS_BLANK_DATASET_H_
