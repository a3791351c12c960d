#include "artifact/tensor_blob.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lowbit {

absl::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "F64";
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI64:
      return "I64";
    case DType::kI32:
      return "I32";
    case DType::kI16:
      return "I16";
    case DType::kI8:
      return "I8";
    case DType::kU64:
      return "U64";
    case DType::kU32:
      return "U32";
    case DType::kU16:
      return "U16";
    case DType::kU8:
      return "U8";
    case DType::kBool:
      return "BOOL";
    case DType::kC64:
      return "C64";
    case DType::kF8E4M3:
      return "F8_E4M3";
    case DType::kF8E5M2:
      return "F8_E5M2";
    case DType::kF8E8M0:
      return "F8_E8M0";
    case DType::kF6E2M3:
      return "F6_E2M3";
    case DType::kF6E3M2:
      return "F6_E3M2";
    case DType::kF4:
      return "F4";
  }
  return "";  // no other value exists
}

int DTypeBits(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
    case DType::kU64:
    case DType::kC64:
      return 64;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32:
      return 32;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
    case DType::kU16:
      return 16;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return 8;
    case DType::kF8E4M3:
    case DType::kF8E5M2:
    case DType::kF8E8M0:
      return 8;
    case DType::kF6E2M3:
    case DType::kF6E3M2:
      return 6;
    case DType::kF4:
      return 4;
  }
  return 0;  // no other value exists
}

namespace internal {

absl::StatusOr<uint64_t> ByteCount(DType dtype, const std::vector<int64_t>& shape) {
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  uint64_t bits = static_cast<uint64_t>(DTypeBits(dtype));
  bool is_empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) {
      return absl::InvalidArgumentError(absl::StrCat("shape ", DescribeShape(shape), " has a negative extent"));
    }
    if (extent == 0) {
      is_empty = true;
    } else if (bits > kMost / static_cast<uint64_t>(extent)) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", DescribeShape(shape), " of ", DTypeName(dtype), " overflows 64 bits"));
    } else {
      bits *= static_cast<uint64_t>(extent);
    }
  }
  if (is_empty) return 0;
  if (bits % 8 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", DescribeShape(shape), " of ", DTypeName(dtype), " takes ",
                                                   bits, " bits, which is no whole number of bytes"));
  }
  return bits / 8;
}

std::string DescribeShape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string DescribeTensor(absl::string_view name) {
  constexpr size_t kMost = 200;
  return absl::StrCat("tensor \"", absl::CHexEscape(name.substr(0, kMost)), name.size() > kMost ? "..." : "", "\"");
}

std::string Excerpt(absl::string_view text) {
  constexpr size_t kMost = 120;
  return absl::StrCat(absl::CHexEscape(text.substr(0, kMost)), text.size() > kMost ? "..." : "");
}

}  // namespace internal
}  // namespace lowbit
