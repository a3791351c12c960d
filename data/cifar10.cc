#include "data/cifar10.h"

#include <sys/stat.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "data/in_memory_dataset.h"

namespace lowbit {
namespace {

constexpr ImageShape kShape = {3, 32, 32};
constexpr int64_t kImageBytes = 3 * 32 * 32;
constexpr int64_t kRecordBytes = 1 + kImageBytes;
constexpr int64_t kRecordsPerFile = 10000;
constexpr int64_t kFileBytes = kRecordsPerFile * kRecordBytes;
constexpr int kClasses = 10;

std::vector<std::string> FileNames(Split split) {
  if (split == Split::kTest) return {"test_batch.bin"};
  return {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"};
}

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// Is it a file of the right size? Asked before the content is read, so that a wrong file is not read at all.
absl::Status CheckFile(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return absl::OkStatus();  // ReadFile() knows why.
  const int64_t size = info.st_size;
  if (!S_ISREG(info.st_mode) || size == kFileBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", size < kFileBytes ? "the file is cut off" : "the file has extra bytes", ": got ", size,
                   " bytes, wanted ", kFileBytes, " (", kRecordsPerFile, " records of ", kRecordBytes, ")"));
}

// Appends the images and labels of whole records; `path` is for messages.
absl::Status AppendRecords(const std::string& path, absl::string_view bytes, std::vector<uint8_t>* images,
                           std::vector<int32_t>* labels) {
  const int64_t records = static_cast<int64_t>(bytes.size()) / kRecordBytes;
  for (int64_t r = 0; r < records; ++r) {
    const auto* record = reinterpret_cast<const uint8_t*>(bytes.data()) + r * kRecordBytes;
    if (record[0] >= kClasses) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": record ", r, " (byte ", r * kRecordBytes, "): got label ",
                                                     record[0], ", wanted 0 to ", kClasses - 1));
    }
    labels->push_back(record[0]);
    images->insert(images->end(), record + 1, record + kRecordBytes);
  }
  return absl::OkStatus();
}

absl::Status AppendWholeFile(const std::string& path, std::vector<uint8_t>* images, std::vector<int32_t>* labels) {
  LOWBIT_RETURN_IF_ERROR(CheckFile(path));
  LOWBIT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  if (static_cast<int64_t>(bytes.size()) != kFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": read ", bytes.size(), " bytes, wanted ", kFileBytes));
  }
  return AppendRecords(path, bytes, images, labels);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenCifar10(const std::string& dir, Split split) {
  const std::vector<std::string> names = FileNames(split);
  if (!IsFolder(dir)) {
    return absl::NotFoundError(absl::StrCat("CIFAR-10: ", dir, " is not a folder; wanted one that holds ",
                                            names.front(), names.size() > 1 ? absl::StrCat(" to ", names.back()) : ""));
  }
  std::vector<uint8_t> images;
  std::vector<int32_t> labels;
  images.reserve(names.size() * kRecordsPerFile * kImageBytes);
  labels.reserve(names.size() * kRecordsPerFile);
  for (const std::string& name : names) {
    LOWBIT_RETURN_IF_ERROR(AppendWholeFile(absl::StrCat(dir, "/", name), &images, &labels));
  }
  return InMemoryDataset::Create(kShape, std::move(images), std::move(labels), Cifar10ClassNames());
}

absl::StatusOr<std::unique_ptr<Dataset>> OpenCifar10File(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const int64_t size = static_cast<int64_t>(bytes.size());
  if (size == 0 || size % kRecordBytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": got ", size, " bytes, wanted records of ", kRecordBytes,
                                                   size == 0 ? "" : ": the last one is cut off"));
  }
  std::vector<uint8_t> images;
  std::vector<int32_t> labels;
  images.reserve(bytes.size());
  LOWBIT_RETURN_IF_ERROR(AppendRecords(path, bytes, &images, &labels));
  return InMemoryDataset::Create(kShape, std::move(images), std::move(labels), Cifar10ClassNames());
}

std::vector<std::string> Cifar10ClassNames() {
  return {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
}

}  // namespace lowbit
