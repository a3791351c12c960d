#include "runtime/cpu.h"

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lowbit {

absl::string_view CpuName(Cpu cpu) {
  switch (cpu) {
    case Cpu::kReference:
      return "reference";
    case Cpu::kPortable:
      return "portable";
    case Cpu::kAvx2:
      return "avx2";
    case Cpu::kAvx512Vnni:
      return "avx512vnni";
    case Cpu::kAvx512Popcnt:
      return "avx512popcnt";
  }
  return "unknown";
}

std::vector<Cpu> RunnableCpus() {
  std::vector<Cpu> cpus = {Cpu::kReference, Cpu::kPortable};
#if defined(__x86_64__)
  const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  const bool has_vnni = has_avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                        __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512vnni") != 0;
  if (has_avx2) cpus.push_back(Cpu::kAvx2);
  if (has_vnni) cpus.push_back(Cpu::kAvx512Vnni);
  if (has_vnni && __builtin_cpu_supports("avx512vpopcntdq") != 0) cpus.push_back(Cpu::kAvx512Popcnt);
#endif
  return cpus;
}

absl::StatusOr<Cpu> ChooseCpu() {
  const std::vector<Cpu> cpus = RunnableCpus();
  const char* const wanted = std::getenv("LOWBIT_CPU");
  if (wanted == nullptr || *wanted == '\0') return cpus.back();
  for (const Cpu cpu : cpus) {
    if (CpuName(cpu) == wanted) return cpu;
  }
  const std::string names =
      absl::StrJoin(cpus, ", ", [](std::string* out, Cpu cpu) { absl::StrAppend(out, CpuName(cpu)); });
  return absl::InvalidArgumentError(absl::StrCat("LOWBIT_CPU is \"", wanted, "\"; this processor can run ", names));
}

}  // namespace lowbit
