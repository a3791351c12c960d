#ifndef LOWBIT_ARTIFACT_ZIP_ARCHIVE_H_
#define LOWBIT_ARTIFACT_ZIP_ARCHIVE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lowbit {
namespace internal {

// The zip files that PyTorch writes (its PyTorchStreamWriter): every entry is stored as it is, not compressed, so that
// it can be used in place. On disk, all numbers little-endian:
//
//   for each entry    a local header of 30 bytes, the name, an extra field, the entry's bytes, maybe a trailer
//   the directory     for each entry 46 bytes, the name, an extra field, a comment: sizes, CRC-32, where the header is
//   maybe zip64       56 + 20 bytes, with 64-bit numbers for those that did not fit below
//   the end           22 bytes: how many entries, where the directory is; then a comment that reaches to the last byte

// Reads such a file in place: `bytes` must outlive the archive. Compressed and encrypted entries are listed, and
// refused when they are read.
class ZipArchive {
 public:
  // InvalidArgument for a file that was cut off, a directory or a header that contradicts itself, two entries of one
  // name. Memory is proportional to the number of entries.
  static absl::StatusOr<ZipArchive> Parse(absl::string_view bytes);

  // In the directory's order.
  const std::vector<absl::string_view>& names() const { return names_; }
  bool Has(absl::string_view name) const { return entries_.count(name) != 0; }

  // The entry's bytes, after a look at their CRC-32. InvalidArgument, naming the entry, if there is none of this name,
  // if it is compressed or encrypted, if it was changed.
  absl::StatusOr<absl::string_view> Read(absl::string_view name) const;

 private:
  struct Entry {
    absl::string_view bytes;
    int method = 0;  // 0: stored
    bool is_encrypted = false;
    uint32_t crc32 = 0;
  };

  absl::Status ReadDirectory(absl::string_view file, uint64_t begin, uint64_t end, uint64_t count);

  std::vector<absl::string_view> names_;
  std::map<absl::string_view, Entry> entries_;
};

struct ZipInput {
  std::string name;
  absl::string_view bytes;
};

// A zip file that is not yet in one piece: `pieces` one after the other are its bytes. Some of them lie in `owned`, the
// others where the inputs' bytes are.
struct ZipPieces {
  std::deque<std::string> owned;  // a deque: its strings stay where they are
  std::vector<absl::string_view> pieces;
};

// Lays the entries out in this order, stored, without any time stamp, their bytes at multiples of 64 as PyTorch has
// them (a padding field "FB" in the local header). InvalidArgument beyond 4 GiB or 65535 entries, which would take
// zip64.
absl::StatusOr<ZipPieces> LayOutZip(const std::vector<ZipInput>& entries);

}  // namespace internal
}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_ZIP_ARCHIVE_H_
