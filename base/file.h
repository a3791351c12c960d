#ifndef LOWBIT_BASE_FILE_H_
#define LOWBIT_BASE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lowbit {

// Every message below holds the path and the system's reason: `cannot read "a/b.bin": No such file or directory`.
// Codes follow the reason: NotFound, PermissionDenied, ResourceExhausted (disk full, quota, file size limit),
// InvalidArgument (not a regular file), and others.

// The whole content of a regular file (or a pipe).
absl::StatusOr<std::string> ReadFile(const std::string& path);

// The bytes of a regular file where the system has them, without a copy. They are read when they are first looked at: a
// file that somebody cuts off meanwhile ends the process (SIGBUS). Files that AtomicFile replaces stay whole.
class MappedFile {
 public:
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::string_view bytes() const { return bytes_; }

 private:
  explicit MappedFile(absl::string_view bytes) : bytes_(bytes) {}

  const absl::string_view bytes_;
};

// A file that appears under its name only when it is whole: bytes go to a temporary file in the same folder, which
// Commit() renames. Until then, and on every error, a file that had the name before stays as it was, and the temporary
// file is removed when this object goes.
//
//   LOWBIT_ASSIGN_OR_RETURN(std::unique_ptr<AtomicFile> file, AtomicFile::Create(path));
//   LOWBIT_RETURN_IF_ERROR(file->Write(header));
//   return file->Commit();
class AtomicFile {
 public:
  // The folder must exist. A symbolic link is followed, so that the file it points to is the one replaced. A name that
  // belongs to something else than a regular file (a folder, /dev/null) is an InvalidArgument.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // After an error the file is given up: further calls return the same error.
  absl::Status Write(absl::string_view bytes);

  // Brings the bytes to the disk (fsync), renames, and brings the new name to the disk. To be called once, at the end.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string final_path, std::string temporary_path, int descriptor);
  absl::Status Fail(int error);

  const std::string path_;        // as the caller wrote it, for messages
  const std::string final_path_;  // links resolved
  const std::string temporary_path_;
  int descriptor_;  // -1: committed or given up
  absl::Status status_;
};

// Create, Write, Commit in one call. The pieces are written one after the other.
absl::Status WriteFileAtomic(const std::string& path, absl::string_view contents);
absl::Status WriteFileAtomic(const std::string& path, const std::vector<absl::string_view>& pieces);

// A file that grows by records. Each is there for readers, whole, as soon as Append() returns; of one that could not be
// written nothing stays behind (unless the process dies in the middle).
class RecordFile {
 public:
  // Makes the file; AlreadyExists if there is one of this name. The folder must exist.
  static absl::StatusOr<std::unique_ptr<RecordFile>> Create(const std::string& path);
  ~RecordFile();
  RecordFile(const RecordFile&) = delete;
  RecordFile& operator=(const RecordFile&) = delete;

  absl::Status Append(absl::string_view record);

 private:
  RecordFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  const std::string path_;
  const int descriptor_;
  int64_t size_ = 0;  // of all records so far
};

// Removes what an AtomicFile left in `folder` when its process was killed. Files of living processes stay.
absl::Status RemoveStaleTemporaries(const std::string& folder);

// Makes the folder and those above it where they are missing.
absl::Status MakeDirs(const std::string& path);

// Makes a folder that did not exist: `path`, else `path`-2, `path`-3, ... Two processes never get the same one. Makes
// the folders above it too. Returns the folder's path.
absl::StatusOr<std::string> CreateUniqueDir(const std::string& path);

}  // namespace lowbit

#endif  // LOWBIT_BASE_FILE_H_
