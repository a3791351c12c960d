#include "artifact/zip_archive.h"

#include <zlib.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "artifact/little_endian.h"
#include "artifact/tensor_blob.h"
#include "base/status_macros.h"

namespace lowbit {
namespace internal {
namespace {

constexpr absl::string_view kLocalSignature("PK\x03\x04", 4);
constexpr absl::string_view kDirectorySignature("PK\x01\x02", 4);
constexpr absl::string_view kEndSignature("PK\x05\x06", 4);
constexpr absl::string_view kZip64LocatorSignature("PK\x06\x07", 4);
constexpr absl::string_view kZip64EndSignature("PK\x06\x06", 4);
constexpr uint64_t kLocalSize = 30;
constexpr uint64_t kDirectorySize = 46;
constexpr uint64_t kEndSize = 22;
constexpr uint64_t kZip64LocatorSize = 20;
constexpr uint64_t kZip64EndSize = 56;
constexpr uint64_t kIn16Bits = 0xffff;  // also: "see zip64"
constexpr uint64_t kIn32Bits = 0xffffffff;
constexpr int kEncryptedFlag = 1;

uint32_t Crc32(absl::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string DescribeEntry(absl::string_view name) { return absl::StrCat("entry \"", Excerpt(name), "\""); }

// Whether `count` bytes from `begin` on lie in `bytes`.
bool Holds(absl::string_view bytes, uint64_t begin, uint64_t count) {
  return begin <= bytes.size() && count <= bytes.size() - begin;
}

bool HasAt(absl::string_view bytes, uint64_t begin, absl::string_view signature) {
  return Holds(bytes, begin, signature.size()) && bytes.substr(begin, signature.size()) == signature;
}

// Where the end record begins.
std::optional<uint64_t> FindEnd(absl::string_view bytes) {
  if (bytes.size() < kEndSize) return std::nullopt;
  const uint64_t last = bytes.size() - kEndSize;
  for (uint64_t comment_size = 0; comment_size <= std::min(last, kIn16Bits); ++comment_size) {
    const uint64_t begin = last - comment_size;
    if (HasAt(bytes, begin, kEndSignature) && ReadLittleEndian(bytes, begin + 20, 2) == comment_size) return begin;
  }
  return std::nullopt;
}

struct Directory {
  uint64_t count = 0;
  uint64_t begin = 0;
  uint64_t size = 0;
  uint64_t end_record = 0;  // no entry and no directory reaches beyond it
};

absl::StatusOr<Directory> FindDirectory(absl::string_view bytes) {
  const std::optional<uint64_t> end = FindEnd(bytes);
  if (!end.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("the file was cut off: it begins as a zip file, but none of its ",
                                                   bytes.size(), " bytes are a zip file's end record"));
  }
  Directory directory;
  directory.count = ReadLittleEndian(bytes, *end + 10, 2);
  directory.size = ReadLittleEndian(bytes, *end + 12, 4);
  directory.begin = ReadLittleEndian(bytes, *end + 16, 4);
  directory.end_record = *end;
  if (directory.count != kIn16Bits && directory.size != kIn32Bits && directory.begin != kIn32Bits) return directory;
  if (*end < kZip64LocatorSize || !HasAt(bytes, *end - kZip64LocatorSize, kZip64LocatorSignature)) return directory;
  const uint64_t zip64 = ReadLittleEndian(bytes, *end - kZip64LocatorSize + 8, 8);
  if (!HasAt(bytes, zip64, kZip64EndSignature) || !Holds(bytes.substr(0, *end), zip64, kZip64EndSize)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the zip file's end says that byte ", zip64, " begins a zip64 end record, which it does not"));
  }
  directory.count = ReadLittleEndian(bytes, zip64 + 32, 8);
  directory.size = ReadLittleEndian(bytes, zip64 + 40, 8);
  directory.begin = ReadLittleEndian(bytes, zip64 + 48, 8);
  directory.end_record = zip64;
  return directory;
}

struct DirectoryEntry {
  absl::string_view name;
  int flags = 0;
  int method = 0;
  uint32_t crc32 = 0;
  uint64_t packed_size = 0;
  uint64_t size = 0;
  uint64_t local_header = 0;
};

// Takes those numbers that did not fit into the directory from the extra field's zip64 part.
absl::Status ReadZip64Extra(absl::string_view extra, DirectoryEntry* entry) {
  while (extra.size() >= 4) {
    const uint64_t id = ReadLittleEndian(extra, 0, 2), size = ReadLittleEndian(extra, 2, 2);
    if (size > extra.size() - 4) break;
    if (id == 1) {
      absl::string_view fields = extra.substr(4, size);
      for (uint64_t* number : {&entry->size, &entry->packed_size, &entry->local_header}) {
        if (*number != kIn32Bits) continue;
        if (fields.size() < 8) {
          return absl::InvalidArgumentError(absl::StrCat(DescribeEntry(entry->name), ": its zip64 field is too short"));
        }
        *number = ReadLittleEndian(fields, 0, 8);
        fields.remove_prefix(8);
      }
      return absl::OkStatus();
    }
    extra.remove_prefix(4 + size);
  }
  return absl::OkStatus();
}

// Reads the directory's entry at `position`, and moves on to the next.
absl::StatusOr<DirectoryEntry> ReadDirectoryEntry(absl::string_view directory, uint64_t number, uint64_t* position) {
  const uint64_t begin = *position;
  if (!Holds(directory, begin, kDirectorySize) || !HasAt(directory, begin, kDirectorySignature)) {
    return absl::InvalidArgumentError(absl::StrCat("the zip file's directory is damaged at entry ", number));
  }
  DirectoryEntry entry;
  entry.flags = static_cast<int>(ReadLittleEndian(directory, begin + 8, 2));
  entry.method = static_cast<int>(ReadLittleEndian(directory, begin + 10, 2));
  entry.crc32 = static_cast<uint32_t>(ReadLittleEndian(directory, begin + 16, 4));
  entry.packed_size = ReadLittleEndian(directory, begin + 20, 4);
  entry.size = ReadLittleEndian(directory, begin + 24, 4);
  const uint64_t name_size = ReadLittleEndian(directory, begin + 28, 2);
  const uint64_t extra_size = ReadLittleEndian(directory, begin + 30, 2);
  const uint64_t comment_size = ReadLittleEndian(directory, begin + 32, 2);
  entry.local_header = ReadLittleEndian(directory, begin + 42, 4);
  if (!Holds(directory, begin + kDirectorySize, name_size + extra_size + comment_size)) {
    return absl::InvalidArgumentError(absl::StrCat("the zip file's directory is damaged at entry ", number));
  }
  entry.name = directory.substr(begin + kDirectorySize, name_size);
  LOWBIT_RETURN_IF_ERROR(ReadZip64Extra(directory.substr(begin + kDirectorySize + name_size, extra_size), &entry));
  *position = begin + kDirectorySize + name_size + extra_size + comment_size;
  return entry;
}

// Where the entry's bytes begin. `file` ends where the directory begins.
absl::StatusOr<uint64_t> FindEntryBytes(absl::string_view file, const DirectoryEntry& entry) {
  const uint64_t header = entry.local_header;
  if (!Holds(file, header, kLocalSize) || !HasAt(file, header, kLocalSignature)) {
    return absl::InvalidArgumentError(
        absl::StrCat(DescribeEntry(entry.name), ": its header should be at byte ", header, ", and is not"));
  }
  const uint64_t name_size = ReadLittleEndian(file, header + 26, 2);
  const uint64_t extra_size = ReadLittleEndian(file, header + 28, 2);
  if (!HasAt(file, header + kLocalSize, entry.name) || name_size != entry.name.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(DescribeEntry(entry.name), ": its header, at byte ", header, ", has another name"));
  }
  const uint64_t begin = header + kLocalSize + name_size + extra_size;
  if (!Holds(file, begin, entry.packed_size)) {
    return absl::InvalidArgumentError(absl::StrCat(DescribeEntry(entry.name), ": its ", entry.packed_size,
                                                   " bytes from byte ", begin, " on run into the directory at byte ",
                                                   file.size()));
  }
  return begin;
}

}  // namespace

absl::StatusOr<ZipArchive> ZipArchive::Parse(absl::string_view bytes) {
  LOWBIT_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(bytes));
  if (!Holds(bytes.substr(0, directory.end_record), directory.begin, directory.size)) {
    return absl::InvalidArgumentError(absl::StrCat("the zip file's directory should be ", directory.size,
                                                   " bytes from byte ", directory.begin, " on, but the end is at byte ",
                                                   directory.end_record));
  }
  ZipArchive archive;
  LOWBIT_RETURN_IF_ERROR(
      archive.ReadDirectory(bytes, directory.begin, directory.begin + directory.size, directory.count));
  return archive;
}

absl::Status ZipArchive::ReadDirectory(absl::string_view file, uint64_t begin, uint64_t end, uint64_t count) {
  const absl::string_view directory = file.substr(begin, end - begin);
  uint64_t position = 0;
  for (uint64_t i = 0; i < count; ++i) {
    LOWBIT_ASSIGN_OR_RETURN(const DirectoryEntry entry, ReadDirectoryEntry(directory, i, &position));
    LOWBIT_ASSIGN_OR_RETURN(const uint64_t bytes_begin, FindEntryBytes(file.substr(0, begin), entry));
    Entry& kept = entries_[entry.name];
    if (entries_.size() == names_.size()) {
      return absl::InvalidArgumentError(absl::StrCat(DescribeEntry(entry.name), " occurs twice"));
    }
    names_.push_back(entry.name);
    kept.bytes = file.substr(bytes_begin, entry.packed_size);
    kept.method = entry.method;
    kept.is_encrypted = (entry.flags & kEncryptedFlag) != 0;
    kept.crc32 = entry.crc32;
    if (entry.method == 0 && entry.packed_size != entry.size) {
      return absl::InvalidArgumentError(absl::StrCat(DescribeEntry(entry.name), ": it is stored in ", entry.packed_size,
                                                     " bytes and said to have ", entry.size));
    }
  }
  if (position != directory.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the zip file's directory has ", directory.size(),
                                                   " bytes, and its ", count, " entries take ", position));
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::string_view> ZipArchive::Read(absl::string_view name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return absl::InvalidArgumentError(absl::StrCat(DescribeEntry(name), " is missing"));
  const Entry& entry = it->second;
  if (entry.is_encrypted) return absl::InvalidArgumentError(absl::StrCat(DescribeEntry(name), " is encrypted"));
  if (entry.method != 0) {
    return absl::InvalidArgumentError(absl::StrCat(DescribeEntry(name), " is compressed (method ", entry.method,
                                                   entry.method == 8 ? ", deflate" : "",
                                                   "), which torch.save never does: unpack the file, and pack it again "
                                                   "with `zip -0 -r`"));
  }
  const uint32_t crc32 = Crc32(entry.bytes);
  if (crc32 != entry.crc32) {
    return absl::InvalidArgumentError(absl::StrCat(DescribeEntry(name), " is damaged: its CRC-32 is ",
                                                   absl::Hex(crc32, absl::kZeroPad8), ", and was ",
                                                   absl::Hex(entry.crc32, absl::kZeroPad8), " when it was written"));
  }
  return entry.bytes;
}

// ---- writing ----

namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kVersion = 10;        // of the format: 1.0 has stored entries
constexpr uint64_t kUtf8Flag = 1 << 11;  // names are UTF-8
constexpr uint64_t kDate = 0x21;         // 1 January 1980, the first day that there is

// What a local header and a directory entry have in common, from the version on up to the extra field's length.
void AppendCommon(const ZipInput& entry, uint32_t crc32, uint64_t extra_size, std::string* bytes) {
  AppendLittleEndian(kVersion, 2, bytes);
  AppendLittleEndian(kUtf8Flag, 2, bytes);
  AppendLittleEndian(0, 2, bytes);  // stored
  AppendLittleEndian(0, 2, bytes);  // time
  AppendLittleEndian(kDate, 2, bytes);
  AppendLittleEndian(crc32, 4, bytes);
  AppendLittleEndian(entry.bytes.size(), 4, bytes);  // as stored
  AppendLittleEndian(entry.bytes.size(), 4, bytes);
  AppendLittleEndian(entry.name.size(), 2, bytes);
  AppendLittleEndian(extra_size, 2, bytes);
}

// The local header of an entry at `begin`, padded.
std::string LocalHeader(const ZipInput& entry, uint32_t crc32, uint64_t begin) {
  constexpr uint64_t kFieldHeader = 4;  // "FB" and the length
  const uint64_t unpadded = begin + kLocalSize + entry.name.size() + kFieldHeader;
  const uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  std::string header(kLocalSignature);
  AppendCommon(entry, crc32, kFieldHeader + padding, &header);
  absl::StrAppend(&header, entry.name, "FB");
  AppendLittleEndian(padding, 2, &header);
  header.append(padding, 'Z');
  return header;
}

std::string DirectoryRecord(const ZipInput& entry, uint32_t crc32, uint64_t local_header) {
  std::string record(kDirectorySignature);
  AppendLittleEndian(kVersion, 2, &record);  // of the writer
  AppendCommon(entry, crc32, /*extra_size=*/0, &record);
  AppendLittleEndian(0, 2, &record);  // comment
  AppendLittleEndian(0, 2, &record);  // disk
  AppendLittleEndian(0, 2, &record);  // attributes
  AppendLittleEndian(0, 4, &record);
  AppendLittleEndian(local_header, 4, &record);
  return record + entry.name;
}

std::string EndRecord(uint64_t count, uint64_t directory_size, uint64_t directory_begin) {
  std::string record(kEndSignature);
  AppendLittleEndian(0, 4, &record);  // disks
  AppendLittleEndian(count, 2, &record);
  AppendLittleEndian(count, 2, &record);
  AppendLittleEndian(directory_size, 4, &record);
  AppendLittleEndian(directory_begin, 4, &record);
  AppendLittleEndian(0, 2, &record);  // comment
  return record;
}

}  // namespace

absl::StatusOr<ZipPieces> LayOutZip(const std::vector<ZipInput>& entries) {
  if (entries.size() >= kIn16Bits) {
    return absl::InvalidArgumentError(absl::StrCat("a zip file of ", entries.size(), " entries: the limit is 65534"));
  }
  ZipPieces zip;
  std::string directory;
  uint64_t size = 0;
  for (const ZipInput& entry : entries) {
    // Their sum stays far below 2^64.
    if (entry.bytes.size() >= kIn32Bits || size >= kIn32Bits) {
      return absl::InvalidArgumentError("it would take more than 4 GiB");
    }
    const uint32_t crc32 = Crc32(entry.bytes);
    absl::StrAppend(&directory, DirectoryRecord(entry, crc32, size));
    zip.pieces.push_back(zip.owned.emplace_back(LocalHeader(entry, crc32, size)));
    zip.pieces.push_back(entry.bytes);
    size += zip.owned.back().size() + entry.bytes.size();
  }
  if (size + directory.size() >= kIn32Bits) return absl::InvalidArgumentError("it would take more than 4 GiB");
  const std::string end = EndRecord(entries.size(), directory.size(), size);
  zip.pieces.push_back(zip.owned.emplace_back(std::move(directory)));
  zip.pieces.push_back(zip.owned.emplace_back(end));
  return zip;
}

}  // namespace internal
}  // namespace lowbit
