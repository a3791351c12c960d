#include "tensorboard/record.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "tensorboard/crc32c.h"

namespace lowbit {
namespace {

constexpr size_t kHead = 12;  // size and its check
constexpr size_t kTail = 4;   // check of the data

void AppendNumber(uint64_t number, int bytes, std::string* out) {
  for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>(number >> (8 * i)));
}

uint64_t ReadNumber(absl::string_view bytes) {
  uint64_t number = 0;
  for (size_t i = 0; i < bytes.size(); ++i) number |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return number;
}

uint32_t MaskedCrc(absl::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

absl::Status Broken(absl::string_view what, size_t offset) {
  return absl::DataLossError(absl::StrCat(what, " at byte ", offset));
}

}  // namespace

std::string FrameRecord(absl::string_view data) {
  std::string record;
  record.reserve(kHead + data.size() + kTail);
  AppendNumber(data.size(), 8, &record);
  AppendNumber(MaskedCrc(record), 4, &record);
  record.append(data.data(), data.size());
  AppendNumber(MaskedCrc(data), 4, &record);
  return record;
}

absl::StatusOr<std::vector<std::string>> ParseRecords(absl::string_view bytes) {
  std::vector<std::string> records;
  size_t offset = 0;
  while (offset < bytes.size()) {
    const absl::string_view rest = bytes.substr(offset);
    if (rest.size() < kHead) return Broken("a record is cut off", offset);
    const uint64_t size = ReadNumber(rest.substr(0, 8));
    if (ReadNumber(rest.substr(8, 4)) != MaskedCrc(rest.substr(0, 8))) {
      return Broken("the check of a record's size is wrong", offset);
    }
    if (size > rest.size() - kHead || rest.size() - kHead - size < kTail) return Broken("a record is cut off", offset);
    const absl::string_view data = rest.substr(kHead, size);
    if (ReadNumber(rest.substr(kHead + size, kTail)) != MaskedCrc(data)) {
      return Broken("the check of a record's data is wrong", offset);
    }
    records.emplace_back(data);
    offset += kHead + size + kTail;
  }
  return records;
}

}  // namespace lowbit
