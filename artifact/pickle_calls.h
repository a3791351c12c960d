#ifndef LOWBIT_ARTIFACT_PICKLE_CALLS_H_
#define LOWBIT_ARTIFACT_PICKLE_CALLS_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "artifact/pickle.h"

namespace lowbit {
namespace internal {

// What becomes of a pickle's function calls and persistent ids. Errors are InvalidArguments that name the function.
class PickleCalls {
 public:
  // New containers, storages and tensors go to *pickle. A pickle of `size` bytes copies at most so many values.
  PickleCalls(size_t size, Pickle* pickle) : copies_left_(size), pickle_(*pickle) {}

  absl::StatusOr<PickleValue> Call(const PickleValue& function, const PickleValue& arguments);

  // ("storage", class, key, location, size[, None or (key, begin, size)]) -> a kStorage. The location is of no
  // interest.
  absl::StatusOr<PickleValue> LoadPersistent(const PickleValue& id);

 private:
  using Values = std::vector<PickleValue>;

  absl::StatusOr<PickleValue> MakeDict(const Global& function, const Values& arguments);
  absl::StatusOr<PickleValue> MakeSequence(const Global& function, const Values& arguments);
  absl::StatusOr<PickleValue> MakeTensor(const Global& function, const Values& arguments);
  absl::StatusOr<PickleValue> MakeFromType(const Global& function, const Values& arguments);

  size_t copies_left_;
  Pickle& pickle_;
};

}  // namespace internal
}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_PICKLE_CALLS_H_
