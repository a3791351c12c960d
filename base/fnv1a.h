#ifndef LOWBIT_BASE_FNV1A_H_
#define LOWBIT_BASE_FNV1A_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace lowbit {

// The FNV-1a hash, 64 bits: the same on every machine, unlike std::hash. Begin with kFnv1aStart and add word after
// word.
inline constexpr uint64_t kFnv1aStart = 0xcbf29ce484222325;
constexpr uint64_t Fnv1a(uint64_t hash, uint64_t word) { return (hash ^ word) * 0x100000001b3; }

// The same for every byte of a text.
inline uint64_t Fnv1a(uint64_t hash, absl::string_view bytes) {
  for (const char byte : bytes) hash = Fnv1a(hash, uint64_t{static_cast<unsigned char>(byte)});
  return hash;
}

}  // namespace lowbit

#endif  // LOWBIT_BASE_FNV1A_H_
