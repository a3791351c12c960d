#include "data/subset.h"

#include <numeric>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

namespace lowbit {

Subset::Subset(std::shared_ptr<const Dataset> base, std::vector<int64_t> indices)
    : base_(std::move(base)), indices_(std::move(indices)) {}

absl::StatusOr<std::unique_ptr<Subset>> Subset::Create(std::shared_ptr<const Dataset> base,
                                                       std::vector<int64_t> indices) {
  for (size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] < 0 || indices[i] >= base->size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("indices[", i, "]: must be in [0, ", base->size(), "), got ", indices[i]));
    }
  }
  return absl::WrapUnique(new Subset(std::move(base), std::move(indices)));
}

absl::StatusOr<std::unique_ptr<Subset>> Subset::First(std::shared_ptr<const Dataset> base, int64_t limit) {
  if (limit < 1 || limit > base->size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the number of images must be in [1, ", base->size(), "], got ", limit));
  }
  std::vector<int64_t> indices(limit);
  std::iota(indices.begin(), indices.end(), int64_t{0});
  return absl::WrapUnique(new Subset(std::move(base), std::move(indices)));
}

absl::Status Subset::Get(int64_t index, uint8_t* chw, int32_t* label) const {
  if (index < 0 || index >= size()) return IndexError(index, size());
  return base_->Get(indices_[index], chw, label);
}

}  // namespace lowbit
