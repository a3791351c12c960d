#ifndef LOWBIT_DATA_SUBSET_H_
#define LOWBIT_DATA_SUBSET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"

namespace lowbit {

// Some images of another data set: image i is image indices[i] of `base`. An index may stand there twice.
class Subset : public Dataset {
 public:
  // InvalidArgument if an index is not in [0, base->size()).
  static absl::StatusOr<std::unique_ptr<Subset>> Create(std::shared_ptr<const Dataset> base,
                                                        std::vector<int64_t> indices);

  // The first `limit` images. InvalidArgument if limit is not in [1, base->size()].
  static absl::StatusOr<std::unique_ptr<Subset>> First(std::shared_ptr<const Dataset> base, int64_t limit);

  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  ImageShape image_shape() const override { return base_->image_shape(); }
  const std::vector<std::string>& class_names() const override { return base_->class_names(); }
  absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override;

 private:
  Subset(std::shared_ptr<const Dataset> base, std::vector<int64_t> indices);

  std::shared_ptr<const Dataset> base_;
  std::vector<int64_t> indices_;
};

}  // namespace lowbit

#endif  // LOWBIT_DATA_SUBSET_H_
