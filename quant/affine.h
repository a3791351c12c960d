#ifndef LOWBIT_QUANT_AFFINE_H_
#define LOWBIT_QUANT_AFFINE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace lowbit {

// The arithmetic of quantization, one number at a time: the specification. Everything faster (fake_quantize.h, the
// runtime's kernels) is tested against it, bit for bit. All operations are single float32 operations in this order,
// with the processor's default rounding; none may be fused or replaced by a multiplication with a reciprocal.

// The one rounding: to the nearest whole number, halves to the even one.
inline float RoundHalfToEven(float x) { return std::nearbyint(x); }

// q = clamp(round_half_to_even(x / scale + zero_point), qmin, qmax). x may be infinite but not NaN, which has no code.
// Clamping comes first: the limits are whole, so it makes no difference but that every number then fits an int32_t.
//
// Where zero_point is not 0 the sum rounds x / scale to the spacing of floats near zero_point. With zero_point = -0.5
// (one bit, sign) negative x / scale closer to 0 than 2^-25 thus counts as 0, whose sign is plus.
inline int32_t QuantizeValue(float x, float scale, float zero_point, int32_t qmin, int32_t qmax) {
  const float shifted = x / scale + zero_point;
  const float clamped = std::min(std::max(shifted, static_cast<float>(qmin)), static_cast<float>(qmax));
  return static_cast<int32_t>(RoundHalfToEven(clamped));
}

// x = (q - zero_point) * scale. Never -0 where zero_point is whole and scale * 1 does not underflow.
inline float DequantizeValue(int32_t q, float scale, float zero_point) {
  return (static_cast<float>(q) - zero_point) * scale;
}

// What is left of x after a round trip. NaN stays NaN, so that a broken network cannot look healthy.
inline float FakeQuantizeValue(float x, float scale, float zero_point, int32_t qmin, int32_t qmax) {
  if (std::isnan(x)) return x;
  return DequantizeValue(QuantizeValue(x, scale, zero_point, qmin, qmax), scale, zero_point);
}

}  // namespace lowbit

#endif  // LOWBIT_QUANT_AFFINE_H_
