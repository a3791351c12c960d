#ifndef LOWBIT_RUNTIME_KERNELS_CHOOSE_KERNEL_H_
#define LOWBIT_RUNTIME_KERNELS_CHOOSE_KERNEL_H_

#include <memory>
#include <vector>

#include "runtime/cpu.h"
#include "runtime/kernels/conv_kernel.h"

namespace lowbit {

// The fastest kernel for the problem on `cpu`. There always is one.
std::unique_ptr<ConvKernel> BestConvKernel(const ConvProblem& problem, Cpu cpu);

// Every kernel that can compute the problem on `cpu`, for tests and benchmarks; the reference comes last.
std::vector<std::unique_ptr<ConvKernel>> AllConvKernels(const ConvProblem& problem, Cpu cpu);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_CHOOSE_KERNEL_H_
