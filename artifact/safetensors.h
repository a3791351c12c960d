#ifndef LOWBIT_ARTIFACT_SAFETENSORS_H_
#define LOWBIT_ARTIFACT_SAFETENSORS_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "artifact/tensor_blob.h"

namespace lowbit {

// The safetensors container: named tensors and string metadata, without code in it. On disk:
//
//   8 bytes           n, little-endian
//   n bytes           JSON: {"__metadata__": {"key": "value", ...},
//                            "name": {"dtype": "F32", "shape": [16, 3, 3, 3], "data_offsets": [begin, end]}, ...}
//                     then spaces up to a multiple of 8
//   the rest          the tensors' elements, little-endian, row-major; offsets count from here; no gaps, no overlaps
//
// We read every file that the format allows. What we write is deterministic: the tensors
// with the widest elements first and then by name, so that, as from the reference library, each is aligned for its
// type.

struct SafetensorsFile {
  std::map<std::string, TensorBlob> tensors;
  std::map<std::string, std::string> metadata;

  bool operator==(const SafetensorsFile& other) const { return tensors == other.tensors && metadata == other.metadata; }
};

// Reads a whole file. A file that breaks the format in any way is an InvalidArgument (a cut-off one too) that names the
// file, the tensor, what was got and what was wanted; a file that cannot be read gives ReadFile()'s error.
absl::StatusOr<SafetensorsFile> ReadSafetensors(const std::string& path);

// The same from memory; messages call it `name`.
absl::StatusOr<SafetensorsFile> ParseSafetensors(absl::string_view bytes, absl::string_view name);

// The file's bytes. InvalidArgument for what the format cannot hold: bytes that do not agree with shape and type, text
// that is not UTF-8, a tensor called "__metadata__", a header beyond 100 MB.
absl::StatusOr<std::string> SerializeSafetensors(const SafetensorsFile& file);

// Writes those bytes atomically (base/file.h).
absl::Status WriteSafetensors(const std::string& path, const SafetensorsFile& file);

}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_SAFETENSORS_H_
