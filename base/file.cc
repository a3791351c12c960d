#include "base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case EFBIG:
      return absl::StatusCode::kResourceExhausted;
    case ENOTDIR:
      return absl::StatusCode::kNotFound;
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::ErrnoToStatusCode(error);
  }
}

// cannot <verb> "<path>": <the system's words>
absl::Status SystemError(absl::string_view verb, const std::string& path, int error) {
  return absl::Status(CodeOf(error),
                      absl::StrCat("cannot ", verb, " \"", path, "\": ", std::generic_category().message(error)));
}

// Repeats a system call that a signal interrupted.
template <class F>
auto Uninterrupted(F call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// fsync; what cannot be synchronised (some network and virtual file systems) is not an error. Returns errno or 0.
int Synchronize(int descriptor) {
  if (Uninterrupted([&] { return fsync(descriptor); }) == 0) return 0;
  return errno == EINVAL || errno == ENOTSUP ? 0 : errno;
}

// Brings the names in a folder to the disk. Returns errno or 0.
int SynchronizeFolder(const fs::path& folder) {
  const int descriptor = Uninterrupted([&] { return open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  // A folder that may be written to and not read cannot be synchronised.
  if (descriptor < 0) return errno == EACCES ? 0 : errno;
  const int error = Synchronize(descriptor);
  close(descriptor);
  return error;
}

fs::path FolderOf(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// The path that `path` points to in the end, which need not exist.
absl::StatusOr<fs::path> ResolveLinks(const std::string& path) {
  constexpr int kMostLinks = 40;
  fs::path result = path;
  std::error_code error;
  for (int links = 0; fs::is_symlink(result, error); ++links) {
    if (links == kMostLinks) return SystemError("write", path, ELOOP);
    const fs::path target = fs::read_symlink(result, error);
    if (error) return SystemError("write", path, error.value());
    result = FolderOf(result) / target;  // an absolute target replaces the folder
  }
  return result;
}

// The process that wrote a temporary file of this name; 0 for other names.
int ProcessOfTemporary(absl::string_view name) {
  int process = 0, number = 0;
  if (!absl::ConsumePrefix(&name, ".lowbit-") || !absl::ConsumeSuffix(&name, ".tmp")) return 0;
  const size_t dash = name.find('-');
  const bool has_form = dash != absl::string_view::npos && absl::SimpleAtoi(name.substr(0, dash), &process) &&
                        absl::SimpleAtoi(name.substr(dash + 1), &number);
  return has_form ? process : 0;
}

// The descriptor of a regular file (or a pipe), and what the system knows of it.
absl::StatusOr<int> OpenToRead(const std::string& path, bool may_be_pipe, struct stat* info) {
  const int descriptor = Uninterrupted([&] { return open(path.c_str(), O_RDONLY | O_CLOEXEC); });
  if (descriptor < 0) return SystemError("read", path, errno);
  int error = fstat(descriptor, info) == 0 ? 0 : errno;
  if (error == 0 && S_ISDIR(info->st_mode)) error = EISDIR;
  if (error != 0) {
    close(descriptor);
    return SystemError("read", path, error);
  }
  if (!S_ISREG(info->st_mode) && !(may_be_pipe && S_ISFIFO(info->st_mode))) {
    close(descriptor);
    return absl::InvalidArgumentError(absl::StrCat("cannot read \"", path, "\": not a regular file"));
  }
  return descriptor;
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  struct stat info = {};
  LOWBIT_ASSIGN_OR_RETURN(const int descriptor, OpenToRead(path, /*may_be_pipe=*/true, &info));
  constexpr size_t kLeastStep = 1 << 16;
  std::string contents;
  size_t size = 0;
  int error = 0;
  while (true) {
    // One byte more than the file should have: the read that finds the end then needs no further room.
    const size_t expected = static_cast<size_t>(info.st_size) + 1;
    if (size == contents.size()) contents.resize(std::max({expected, size + kLeastStep, size + size / 2}));
    const ssize_t count = Uninterrupted([&] { return read(descriptor, &contents[size], contents.size() - size); });
    if (count < 0) error = errno;
    if (count <= 0) break;
    size += static_cast<size_t>(count);
  }
  close(descriptor);
  if (error != 0) return SystemError("read", path, error);
  contents.resize(size);
  return contents;
}

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  struct stat info = {};
  LOWBIT_ASSIGN_OR_RETURN(const int descriptor, OpenToRead(path, /*may_be_pipe=*/false, &info));
  const size_t size = static_cast<size_t>(info.st_size);
  // Nothing cannot be mapped.
  void* const address = size == 0 ? nullptr : mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  const int error = address == MAP_FAILED ? errno : 0;
  close(descriptor);
  if (error != 0) return SystemError("read", path, error);
  return std::unique_ptr<MappedFile>(new MappedFile(absl::string_view(static_cast<const char*>(address), size)));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(const fs::path final_path, ResolveLinks(path));
  if (path.empty()) return SystemError("write", path, ENOENT);
  if (!final_path.has_filename()) return SystemError("write", path, EISDIR);
  struct stat info = {};
  if (stat(final_path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return SystemError("write", path, EISDIR);
    if (!S_ISREG(info.st_mode)) {
      return absl::InvalidArgumentError(absl::StrCat("cannot write \"", path, "\": not a regular file"));
    }
  }

  static std::atomic<int> counter{0};
  while (true) {
    // The user's file name is not part of it: with more characters it could become too long.
    const fs::path temporary_path = FolderOf(final_path) / absl::StrCat(".lowbit-", getpid(), "-", counter++,
                                                                        ".tmp");  // see ProcessOfTemporary
    const int descriptor =
        Uninterrupted([&] { return open(temporary_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
    if (descriptor >= 0) {
      return std::unique_ptr<AtomicFile>(
          new AtomicFile(path, final_path.string(), temporary_path.string(), descriptor));
    }
    // Left by a process that was killed, or in use by one on another machine.
    if (errno != EEXIST) return SystemError("write", path, errno);
  }
}

AtomicFile::AtomicFile(std::string path, std::string final_path, std::string temporary_path, int descriptor)
    : path_(std::move(path)),
      final_path_(std::move(final_path)),
      temporary_path_(std::move(temporary_path)),
      descriptor_(descriptor) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(temporary_path_.c_str());
}

absl::Status AtomicFile::Fail(int error) {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
  unlink(temporary_path_.c_str());
  status_ = SystemError("write", path_, error);
  return status_;
}

absl::Status AtomicFile::Write(absl::string_view bytes) {
  if (!status_.ok()) return status_;
  LOWBIT_CHECK(descriptor_ >= 0, "Write() after Commit() of ", path_);
  while (!bytes.empty()) {
    const ssize_t count = Uninterrupted([&] { return write(descriptor_, bytes.data(), bytes.size()); });
    if (count < 0) return Fail(errno);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  if (!status_.ok()) return status_;
  LOWBIT_CHECK(descriptor_ >= 0, "second Commit() of ", path_);
  if (const int error = Synchronize(descriptor_); error != 0) return Fail(error);
  // Some file systems report a failed write only here. Linux releases the descriptor in any case.
  const int close_error = close(std::exchange(descriptor_, -1)) == 0 || errno == EINTR ? 0 : errno;
  if (close_error != 0) return Fail(close_error);
  if (std::rename(temporary_path_.c_str(), final_path_.c_str()) != 0) return Fail(errno);
  const int error = SynchronizeFolder(FolderOf(final_path_));
  return error == 0 ? absl::OkStatus() : SystemError("synchronise", FolderOf(final_path_).string(), error);
}

absl::Status WriteFileAtomic(const std::string& path, absl::string_view contents) {
  return WriteFileAtomic(path, std::vector<absl::string_view>{contents});
}

absl::Status WriteFileAtomic(const std::string& path, const std::vector<absl::string_view>& pieces) {
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file, AtomicFile::Create(path));
  for (const absl::string_view piece : pieces) LOWBIT_RETURN_IF_ERROR(file->Write(piece));
  return file->Commit();
}

absl::StatusOr<std::unique_ptr<RecordFile>> RecordFile::Create(const std::string& path) {
  const int descriptor =
      Uninterrupted([&] { return open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  if (descriptor < 0) return SystemError("write", path, errno);
  return std::unique_ptr<RecordFile>(new RecordFile(path, descriptor));
}

RecordFile::~RecordFile() { close(descriptor_); }

absl::Status RecordFile::Append(absl::string_view record) {
  const int64_t size = size_ + static_cast<int64_t>(record.size());
  while (!record.empty()) {
    const ssize_t count = Uninterrupted([&] { return write(descriptor_, record.data(), record.size()); });
    if (count < 0) {
      const int error = errno;
      // Takes back the piece that did fit. Should that fail too, the first error is the one to tell.
      if (ftruncate(descriptor_, size_) == 0) lseek(descriptor_, size_, SEEK_SET);
      return SystemError("write", path_, error);
    }
    record.remove_prefix(static_cast<size_t>(count));
  }
  size_ = size;
  return absl::OkStatus();
}

absl::Status RemoveStaleTemporaries(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const int process = ProcessOfTemporary(entry.path().filename().string());
    if (process <= 0 || kill(process, 0) == 0 || errno != ESRCH) continue;
    if (unlink(entry.path().c_str()) != 0) return SystemError("remove", entry.path().string(), errno);
  }
  return error ? SystemError("read the folder", folder, error.value()) : absl::OkStatus();
}

absl::Status MakeDirs(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error && !fs::is_directory(path, error) && !error) error = std::make_error_code(std::errc::not_a_directory);
  return error ? SystemError("make the folder", path, error.value()) : absl::OkStatus();
}

absl::StatusOr<std::string> CreateUniqueDir(const std::string& path) {
  LOWBIT_RETURN_IF_ERROR(MakeDirs(FolderOf(path).string()));
  for (int64_t number = 1;; ++number) {
    const std::string candidate = number == 1 ? path : absl::StrCat(path, "-", number);
    if (mkdir(candidate.c_str(), 0777) == 0) return candidate;
    if (errno != EEXIST) return SystemError("make the folder", candidate, errno);
  }
}

}  // namespace lowbit
