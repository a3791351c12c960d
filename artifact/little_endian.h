#ifndef LOWBIT_ARTIFACT_LITTLE_ENDIAN_H_
#define LOWBIT_ARTIFACT_LITTLE_ENDIAN_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace lowbit {
namespace internal {

// The number in `count` bytes, 8 at most, from `begin` on. The bytes must be there.
inline uint64_t ReadLittleEndian(absl::string_view bytes, size_t begin, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; ++i) value |= uint64_t{static_cast<unsigned char>(bytes[begin + i])} << (8 * i);
  return value;
}

inline void AppendLittleEndian(uint64_t value, int count, std::string* bytes) {
  for (int i = 0; i < count; ++i) bytes->push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace internal
}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_LITTLE_ENDIAN_H_
