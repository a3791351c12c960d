#ifndef LOWBIT_ARTIFACT_TENSOR_BLOB_H_
#define LOWBIT_ARTIFACT_TENSOR_BLOB_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lowbit {

// The element types of a safetensors file; those that Lowbit has no use for are carried as bytes.
enum class DType {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
  kC64,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kF6E2M3,
  kF6E3M2,
  kF4,
};

// The name in a safetensors file: "F32", "BF16", "BOOL", "F8_E4M3".
absl::string_view DTypeName(DType dtype);

// Bits of one element: 32 for kF32; 4 and 6 for the types that share bytes.
int DTypeBits(DType dtype);

struct TensorBlob {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // none: a scalar; an extent may be 0
  std::string bytes;           // product of shape * DTypeBits / 8 of them

  bool operator==(const TensorBlob& other) const {
    return dtype == other.dtype && shape == other.shape && bytes == other.bytes;
  }
};

namespace internal {

// What the readers and writers of this package share.

// Bytes that a tensor takes; an error where they are not a whole number, or where the extents are negative or, zeros
// left out, too large for any memory: readers multiply them in some order of their own.
absl::StatusOr<uint64_t> ByteCount(DType dtype, const std::vector<int64_t>& shape);

// "[16, 3, 3, 3]", for messages.
std::string DescribeShape(const std::vector<int64_t>& shape);

// `tensor "conv1.weight"`; what would garble a terminal is escaped, and a very long name is cut.
std::string DescribeTensor(absl::string_view name);

// Text of a file, for a message: escaped, and cut where it is long.
std::string Excerpt(absl::string_view text);

}  // namespace internal

}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_TENSOR_BLOB_H_
