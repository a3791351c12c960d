#ifndef LOWBIT_BASE_FOLDER_LOCK_H_
#define LOWBIT_BASE_FOLDER_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace lowbit {

// Keeps a folder to one process (one holder, in fact) at a time, for as long as the object lives. The system gives the
// lock back when a process ends, however it ends; nothing is written.
class FolderLock {
 public:
  // FailedPrecondition at once if somebody else has it: `"out/a-20260101-000000" is in use by another process`. Where a
  // file system has no locks (some network ones) everybody gets it.
  static absl::StatusOr<std::unique_ptr<FolderLock>> Acquire(const std::string& folder);

  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int descriptor) : descriptor_(descriptor) {}
  const int descriptor_;
};

}  // namespace lowbit

#endif  // LOWBIT_BASE_FOLDER_LOCK_H_
