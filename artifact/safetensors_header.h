#ifndef LOWBIT_ARTIFACT_SAFETENSORS_HEADER_H_
#define LOWBIT_ARTIFACT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "artifact/tensor_blob.h"

namespace lowbit {
namespace internal {

// What the JSON header says of one tensor. Only the form was checked, not whether the numbers agree.
struct TensorInfo {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // none is negative
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

// The name under which the header holds the metadata.
inline constexpr char kMetadataKey[] = "__metadata__";

// Parses the header's text. Every deviation from the format is an InvalidArgument: JSON that is broken, a key that
// occurs twice, a value of the wrong kind, a field that is missing or unknown. Memory stays proportional to the text.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json);

}  // namespace internal
}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_SAFETENSORS_HEADER_H_
