#include "base/scratch_memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lowbit {
namespace {

// -1 and errno where it cannot.
int OpenNameless(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  // Some file systems have no such files.
  if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return descriptor;
  std::string path = absl::StrCat(folder, "/.lowbit-scratch-XXXXXX");
  const int named = mkostemp(path.data(), O_CLOEXEC);
  if (named >= 0) unlink(path.c_str());
  return named;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ScratchMemory>> ScratchMemory::Create(const std::string& folder, int64_t size) {
  const auto failed = [&](int error) {
    return absl::ErrnoToStatus(error, absl::StrFormat("cannot take %.1f MiB of disk in \"%s\"",
                                                      static_cast<double>(size) / (1 << 20), folder));
  };
  const int descriptor = OpenNameless(folder);
  if (descriptor < 0) return failed(errno);
  // A file with holes would end the process (SIGBUS) when the disk is full.
  int error = 0;
  do {
    error = posix_fallocate(descriptor, 0, size);
  } while (error == EINTR);
  void* data = nullptr;
  if (error == 0) {
    data = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (data == MAP_FAILED) error = errno;
  }
  close(descriptor);
  if (error != 0) return failed(error);
  return std::unique_ptr<ScratchMemory>(new ScratchMemory(data, size));
}

ScratchMemory::~ScratchMemory() { munmap(data_, static_cast<size_t>(size_)); }

}  // namespace lowbit
