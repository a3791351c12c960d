#ifndef LOWBIT_RUNTIME_KERNELS_AVX2_CONV_H_
#define LOWBIT_RUNTIME_KERNELS_AVX2_CONV_H_

#include <memory>

#include "runtime/kernels/conv_kernel.h"

namespace lowbit {

// Convolutions on AVX2, without groups unless said otherwise; nullptr for others, and where the processor that this is
// compiled for has no AVX2 variant.

// Products of bytes, added in pairs to 16 bits (vpmaddubsw) and in 16 bits for as long as the weights prove that
// nothing can overflow, then in 32. nullptr where that is soon, or at once: 8-bit codes with 8-bit weights.
std::unique_ptr<ConvKernel> MakeAvx2ByteConv(const ConvProblem& problem);

// Products of 16-bit numbers, added in pairs to 32 bits (vpmaddwd): exact for all.
std::unique_ptr<ConvKernel> MakeAvx2WordConv(const ConvProblem& problem);

// Windows of 3 by 3 with 16 products for 4 outputs (Winograd), in whole numbers. nullptr for other windows, strides and
// dilations, channels that are no multiple of 16, fewer than 16 outputs of a channel. The former multiplies words and
// is exact for all, the latter bytes, which fits up to about 4 bits with 4, and wants even sizes or multiples of 32
// channels.
std::unique_ptr<ConvKernel> MakeAvx2WinogradConv(const ConvProblem& problem);
std::unique_ptr<ConvKernel> MakeAvx2WinogradByteConv(const ConvProblem& problem);

// Tables of sums of weights, looked up by 4 codes of 1 bit or by 2 codes of 2 bits (vpshufb). nullptr for codes of more
// bits, channels that are no multiple of 16, strides above 2.
std::unique_ptr<ConvKernel> MakeAvx2TableOf4Conv(const ConvProblem& problem);
std::unique_ptr<ConvKernel> MakeAvx2TableOf2Conv(const ConvProblem& problem);

// As many groups as input and as output channels (vpmaddwd). nullptr for others, and where weights have zero points.
std::unique_ptr<ConvKernel> MakeAvx2DepthwiseConv(const ConvProblem& problem);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX2_CONV_H_
