#include "artifact/safetensors.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "artifact/safetensors_header.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"

namespace lowbit {
namespace {

using internal::ByteCount;
using internal::DescribeShape;
using internal::DescribeTensor;
using internal::kMetadataKey;
using internal::SafetensorsHeader;
using internal::TensorInfo;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMostHeaderBytes = 100'000'000;  // the reference library's limit

// Whether the tensor's numbers agree with each other and with `data_size`, the bytes after the header.
absl::Status CheckTensor(const TensorInfo& info, uint64_t data_size) {
  if (info.begin > info.end) {
    return absl::InvalidArgumentError(
        absl::StrCat("data_offsets [", info.begin, ", ", info.end, "] end before they begin"));
  }
  LOWBIT_ASSIGN_OR_RETURN(const uint64_t size, ByteCount(info.dtype, info.shape));
  if (info.end - info.begin != size) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", DescribeShape(info.shape), " of ", DTypeName(info.dtype),
                                                   " takes ", size, " bytes, but data_offsets [", info.begin, ", ",
                                                   info.end, "] hold ", info.end - info.begin));
  }
  if (info.end > data_size) {
    return absl::InvalidArgumentError(absl::StrCat("ends at byte ", info.end, " of the data, of which there are ",
                                                   data_size, ": the file was cut off, or its header is wrong"));
  }
  return absl::OkStatus();
}

// Whether the tensors, each of which passed CheckTensor(), cover the data without a gap or an overlap.
absl::Status CheckCover(const std::map<std::string, TensorInfo>& tensors, uint64_t data_size) {
  std::vector<std::tuple<uint64_t, uint64_t, absl::string_view>> spans;
  for (const auto& [name, info] : tensors) spans.emplace_back(info.begin, info.end, name);
  std::sort(spans.begin(), spans.end());
  uint64_t covered = 0;
  absl::string_view last_name;
  for (const auto& [begin, end, name] : spans) {
    if (begin < covered) {
      return absl::InvalidArgumentError(absl::StrCat(DescribeTensor(last_name), " and ", DescribeTensor(name),
                                                     " overlap: one ends at byte ", covered,
                                                     " of the data, the other begins at ", begin));
    }
    if (begin > covered) {
      return absl::InvalidArgumentError(absl::StrCat("bytes ", covered, " to ", begin, " of the data, before ",
                                                     DescribeTensor(name), ", belong to no tensor"));
    }
    covered = end;
    last_name = name;
  }
  if (covered != data_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(data_size - covered, " bytes after the last tensor belong to no tensor"));
  }
  return absl::OkStatus();
}

// Separates the header's text from the data.
absl::Status SplitFile(absl::string_view bytes, absl::string_view* header, absl::string_view* data) {
  if (bytes.size() < kLengthBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the file was cut off: it has ", bytes.size(), " bytes, and the header's length takes 8"));
  }
  uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  if (length > kMostHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("not a safetensors file: the header's length would be ", length,
                                                   " bytes, and the limit is ", kMostHeaderBytes));
  }
  if (length > bytes.size() - kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the file was cut off: the header ends at byte ",
                                                   kLengthBytes + length, ", the file at byte ", bytes.size()));
  }
  *header = bytes.substr(kLengthBytes, length);
  *data = bytes.substr(kLengthBytes + length);
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsFile> Parse(absl::string_view bytes) {
  absl::string_view header_text, data;
  LOWBIT_RETURN_IF_ERROR(SplitFile(bytes, &header_text, &data));
  LOWBIT_ASSIGN_OR_RETURN(SafetensorsHeader header, internal::ParseSafetensorsHeader(header_text));
  for (const auto& [name, info] : header.tensors) {
    const absl::Status status = CheckTensor(info, data.size());
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat(DescribeTensor(name), ": ", status.message()));
    }
  }
  LOWBIT_RETURN_IF_ERROR(CheckCover(header.tensors, data.size()));
  SafetensorsFile file;
  file.metadata = std::move(header.metadata);
  for (auto& [name, info] : header.tensors) {
    TensorBlob& tensor = file.tensors[name];
    tensor.dtype = info.dtype;
    tensor.shape = std::move(info.shape);
    tensor.bytes = std::string(data.substr(info.begin, info.end - info.begin));
  }
  return file;
}

// ---- writing ----

// A JSON string; nothing where the text is not UTF-8, which JSON demands.
std::optional<std::string> Quoted(const std::string& text) {
  using nlohmann::json;
  const std::string quoted = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  // What is not UTF-8 was replaced, and does not come back.
  if (json::parse(quoted, nullptr, false) != json(text)) return std::nullopt;
  return quoted;
}

// Tensors in the order in which they lie in the file.
std::vector<const std::pair<const std::string, TensorBlob>*> InFileOrder(const SafetensorsFile& file) {
  std::vector<const std::pair<const std::string, TensorBlob>*> order;
  for (const auto& tensor : file.tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return DTypeBits(a->second.dtype) > DTypeBits(b->second.dtype);
  });
  return order;
}

absl::StatusOr<std::string> MetadataEntry(const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> entries;
  for (const auto& [key, value] : metadata) {
    const std::optional<std::string> quoted_key = Quoted(key), quoted_value = Quoted(value);
    if (!quoted_key.has_value() || !quoted_value.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("metadata \"", absl::CHexEscape(key), "\" is not UTF-8"));
    }
    entries.push_back(absl::StrCat(*quoted_key, ":", *quoted_value));
  }
  return absl::StrCat("\"", kMetadataKey, "\":{", absl::StrJoin(entries, ","), "}");
}

absl::StatusOr<std::string> TensorEntry(const std::string& name, const TensorBlob& tensor, uint64_t begin) {
  const std::optional<std::string> quoted = Quoted(name);
  if (!quoted.has_value()) return absl::InvalidArgumentError("its name is not UTF-8");
  if (name == kMetadataKey) return absl::InvalidArgumentError("the format reserves this name");
  LOWBIT_ASSIGN_OR_RETURN(const uint64_t size, ByteCount(tensor.dtype, tensor.shape));
  if (size != tensor.bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", DescribeShape(tensor.shape), " of ",
                                                   DTypeName(tensor.dtype), " takes ", size, " bytes, got ",
                                                   tensor.bytes.size()));
  }
  return absl::StrCat(*quoted, ":{\"dtype\":\"", DTypeName(tensor.dtype), "\",\"shape\":[",
                      absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", begin, ",", begin + size, "]}");
}

// The length field and the JSON text.
absl::StatusOr<std::string> SerializeHeader(const SafetensorsFile& file) {
  std::vector<std::string> entries;
  if (!file.metadata.empty()) {
    LOWBIT_ASSIGN_OR_RETURN(entries.emplace_back(), MetadataEntry(file.metadata));
  }
  uint64_t begin = 0;
  for (const auto* tensor : InFileOrder(file)) {
    absl::StatusOr<std::string> entry = TensorEntry(tensor->first, tensor->second, begin);
    if (!entry.ok()) {
      return absl::Status(entry.status().code(),
                          absl::StrCat(DescribeTensor(tensor->first), ": ", entry.status().message()));
    }
    entries.push_back(*std::move(entry));
    begin += tensor->second.bytes.size();
  }
  std::string json = absl::StrCat("{", absl::StrJoin(entries, ","), "}");
  json.append((8 - json.size() % 8) % 8, ' ');
  if (json.size() > kMostHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header would take ", json.size(), " bytes, and the limit is ", kMostHeaderBytes));
  }
  std::string length(kLengthBytes, '\0');
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(uint64_t{json.size()} >> (8 * i));
  return length + json;
}

}  // namespace

absl::StatusOr<SafetensorsFile> ReadSafetensors(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return ParseSafetensors(bytes, path);
}

absl::StatusOr<SafetensorsFile> ParseSafetensors(absl::string_view bytes, absl::string_view name) {
  absl::StatusOr<SafetensorsFile> file = Parse(bytes);
  if (file.ok()) return file;
  return absl::Status(file.status().code(), absl::StrCat(name, ": ", file.status().message()));
}

absl::StatusOr<std::string> SerializeSafetensors(const SafetensorsFile& file) {
  LOWBIT_ASSIGN_OR_RETURN(std::string bytes, SerializeHeader(file));
  for (const auto* tensor : InFileOrder(file)) bytes += tensor->second.bytes;
  return bytes;
}

absl::Status WriteSafetensors(const std::string& path, const SafetensorsFile& file) {
  const absl::StatusOr<std::string> header = SerializeHeader(file);
  if (!header.ok()) {
    return absl::Status(header.status().code(),
                        absl::StrCat("cannot write \"", path, "\": ", header.status().message()));
  }
  std::vector<absl::string_view> pieces = {*header};
  for (const auto* tensor : InFileOrder(file)) pieces.push_back(tensor->second.bytes);
  return WriteFileAtomic(path, pieces);
}

}  // namespace lowbit
