#ifndef LOWBIT_BASE_SCRATCH_MEMORY_H_
#define LOWBIT_BASE_SCRATCH_MEMORY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace lowbit {

// Memory that is a file: the system writes to the disk what does not fit into RAM, and reads it when it is looked at.
// The file has no name, so that nothing of it stays behind, however the process ends.
class ScratchMemory {
 public:
  // `size` bytes, at least 1, all 0, in a file of `folder`. Room for all of them is taken at once. Errors are the
  // system's: NotFound if there is no such folder, ResourceExhausted if the disk is full, ...
  static absl::StatusOr<std::unique_ptr<ScratchMemory>> Create(const std::string& folder, int64_t size);
  ~ScratchMemory();
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;

  // The first of size() bytes, at the start of a page.
  void* data() { return data_; }
  int64_t size() const { return size_; }

 private:
  ScratchMemory(void* data, int64_t size) : data_(data), size_(size) {}

  void* const data_;
  const int64_t size_;
};

}  // namespace lowbit

#endif  // LOWBIT_BASE_SCRATCH_MEMORY_H_
