#ifndef LOWBIT_QUANT_FAKE_QUANTIZE_H_
#define LOWBIT_QUANT_FAKE_QUANTIZE_H_

#include <ATen/core/Tensor.h>

#include "quant/quant_params.h"

namespace lowbit {

// affine.h (channel_grid.h, where the grid is not uniform) for whole tensors, bit for bit the same, at the speed of
// memory. `params` must be valid; per-channel ones have one entry for each index of the first dimension. Tensors are
// float32 on the CPU in any memory order, which the result shares. Work is spread over LibTorch's threads; the result
// does not depend on how many. What does not fit ends the process.

// FakeQuantizeValue of every element. NaN stays NaN.
at::Tensor FakeQuantize(const at::Tensor& x, const QuantParams& params);

// The same, written into `x` where its memory is dense (contiguous in some order); else into a new tensor. Returns it.
at::Tensor FakeQuantizeInPlace(at::Tensor x, const QuantParams& params);

// What FakeQuantizeInPlace gives, in steps of the grid: level - zero point, not times the scale. Of one scale.
at::Tensor FakeQuantizeToStepsInPlace(at::Tensor x, const QuantParams& params);

// QuantizeValue of every element, as int32. There must be no NaN.
at::Tensor Quantize(const at::Tensor& x, const QuantParams& params);

// DequantizeValue of every element of int32 `codes`, as float32.
at::Tensor Dequantize(const at::Tensor& codes, const QuantParams& params);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_FAKE_QUANTIZE_H_
