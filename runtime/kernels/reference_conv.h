#ifndef LOWBIT_RUNTIME_KERNELS_REFERENCE_CONV_H_
#define LOWBIT_RUNTIME_KERNELS_REFERENCE_CONV_H_

#include <memory>

#include "runtime/kernels/conv_kernel.h"

namespace lowbit {

// The specification: any convolution, as its definition is written. `problem` must outlive the kernel.
std::unique_ptr<ConvKernel> MakeReferenceConv(const ConvProblem& problem);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_REFERENCE_CONV_H_
