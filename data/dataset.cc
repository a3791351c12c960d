#include "data/dataset.h"

#include "absl/strings/str_cat.h"

namespace lowbit {

absl::Status IndexError(int64_t index, int64_t size) {
  return absl::OutOfRangeError(absl::StrCat("image ", index, " of a data set of ", size));
}

}  // namespace lowbit
