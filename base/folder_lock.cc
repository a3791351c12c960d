#include "base/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace lowbit {

absl::StatusOr<std::unique_ptr<FolderLock>> FolderLock::Acquire(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    const int error = errno;
    return absl::Status(absl::ErrnoToStatusCode(error), absl::StrCat("cannot open the folder \"", folder,
                                                                     "\": ", std::generic_category().message(error)));
  }
  auto lock = std::unique_ptr<FolderLock>(new FolderLock(descriptor));
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return absl::FailedPreconditionError(absl::StrCat("\"", folder, "\" is in use by another process"));
  }
  return lock;
}

FolderLock::~FolderLock() { close(descriptor_); }

}  // namespace lowbit
