#ifndef LOWBIT_RUNTIME_CPU_H_
#define LOWBIT_RUNTIME_CPU_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lowbit {

// What kernels may use, from the least on. kReference is the specification, slow on purpose.
//
//   kAvx512Vnni    AVX-512 F, BW, VL and VNNI: Cascade Lake and later, Zen 4 and later
//   kAvx512Popcnt  and VPOPCNTDQ: Ice Lake and later, Zen 4 and later
enum class Cpu { kReference, kPortable, kAvx2, kAvx512Vnni, kAvx512Popcnt };

absl::string_view CpuName(Cpu cpu);  // "reference", "portable", "avx2", "avx512vnni", "avx512popcnt"

// Those that this processor can run, ascending.
std::vector<Cpu> RunnableCpus();

// The best of them, or the one that the environment variable LOWBIT_CPU names. InvalidArgument if that is not one of
// them.
absl::StatusOr<Cpu> ChooseCpu();

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_CPU_H_
