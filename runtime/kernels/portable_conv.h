#ifndef LOWBIT_RUNTIME_KERNELS_PORTABLE_CONV_H_
#define LOWBIT_RUNTIME_KERNELS_PORTABLE_CONV_H_

#include <memory>

#include "runtime/kernels/conv_kernel.h"

namespace lowbit {

// Any convolution, for any C++17 compiler: loops over neighbouring output channels (or, depthwise, over neighbouring
// channels) that compilers make vector instructions of.
std::unique_ptr<ConvKernel> MakePortableConv(const ConvProblem& problem);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_PORTABLE_CONV_H_
