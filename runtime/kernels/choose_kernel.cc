#include "runtime/kernels/choose_kernel.h"

#include <utility>

#include "base/check.h"
#include "runtime/kernels/avx2_conv.h"
#include "runtime/kernels/avx512_conv.h"
#include "runtime/kernels/portable_conv.h"
#include "runtime/kernels/reference_conv.h"

namespace lowbit {
namespace {

struct Candidate {
  Cpu cpu;                                                          // the least that it wants
  std::unique_ptr<ConvKernel> (*make)(const ConvProblem& problem);  // nullptr for a problem that it cannot compute
};

// The one list of kernels: the faster before the slower.
constexpr Candidate kCandidates[] = {
    {Cpu::kAvx512Popcnt, MakeAvx512BitConv},
    {Cpu::kAvx512Vnni, MakeAvx512ByteConv},
    {Cpu::kAvx512Vnni, MakeAvx512DepthwiseConv},
    {Cpu::kAvx2, MakeAvx2TableOf4Conv},
    {Cpu::kAvx2, MakeAvx2WinogradByteConv},
    {Cpu::kAvx2, MakeAvx2TableOf2Conv},
    {Cpu::kAvx2, MakeAvx2ByteConv},
    {Cpu::kAvx2, MakeAvx2WinogradConv},
    {Cpu::kAvx2, MakeAvx2WordConv},
    {Cpu::kAvx2, MakeAvx2DepthwiseConv},
    {Cpu::kPortable, MakePortableConv},
    {Cpu::kReference, MakeReferenceConv},
};

}  // namespace

std::unique_ptr<ConvKernel> BestConvKernel(const ConvProblem& problem, Cpu cpu) {
  for (const Candidate& candidate : kCandidates) {
    if (candidate.cpu > cpu) continue;
    std::unique_ptr<ConvKernel> kernel = candidate.make(problem);
    if (kernel != nullptr) return kernel;
  }
  LOWBIT_CHECK(false, "the reference computes every problem");
  return nullptr;
}

std::vector<std::unique_ptr<ConvKernel>> AllConvKernels(const ConvProblem& problem, Cpu cpu) {
  std::vector<std::unique_ptr<ConvKernel>> kernels;
  for (const Candidate& candidate : kCandidates) {
    if (candidate.cpu > cpu) continue;
    std::unique_ptr<ConvKernel> kernel = candidate.make(problem);
    if (kernel != nullptr) kernels.push_back(std::move(kernel));
  }
  return kernels;
}

}  // namespace lowbit
