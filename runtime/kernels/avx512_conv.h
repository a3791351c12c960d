#ifndef LOWBIT_RUNTIME_KERNELS_AVX512_CONV_H_
#define LOWBIT_RUNTIME_KERNELS_AVX512_CONV_H_

#include <memory>

#include "runtime/kernels/conv_kernel.h"

namespace lowbit {

// Convolutions on AVX-512; nullptr for problems that they cannot compute, and where the processor that this is compiled
// for has no AVX-512 variant.

// Products of bytes, four of them added to 32 bits at once (vpdpbusd): exact for all. nullptr where there are groups.
// Needs kAvx512Vnni.
std::unique_ptr<ConvKernel> MakeAvx512ByteConv(const ConvProblem& problem);

// 32 codes of 1 bit, or of 2 bits in two planes, times weights of -1 and 1 by counting bits (vpopcntd). nullptr for
// others, for groups, for channels that are no multiple of 8, and for few channels of 2 bits. Needs kAvx512Popcnt.
std::unique_ptr<ConvKernel> MakeAvx512BitConv(const ConvProblem& problem);

// As many groups as input and as output channels (vpdpwssd). nullptr for others, and where weights have zero points.
// Needs kAvx512Vnni.
std::unique_ptr<ConvKernel> MakeAvx512DepthwiseConv(const ConvProblem& problem);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX512_CONV_H_
