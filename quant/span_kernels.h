#ifndef LOWBIT_QUANT_SPAN_KERNELS_H_
#define LOWBIT_QUANT_SPAN_KERNELS_H_

#include <cstdint>
#include <vector>

namespace lowbit {

// The hot loops over numbers in memory. The result does not depend on the processor.

// out[i] = (q - zero_point) * unit, with q = QuantizeValue(in[i], scale, zero_point, qmin, qmax) of affine.h and qmin
// and qmax within +-2^16 (that is 16-bit codes, signed or not). With unit = scale that is FakeQuantizeValue. `out` is
// `in`, or does not overlap it. NaN stays NaN.
void FakeQuantizeSpan(const float* in, float* out, int64_t size, float scale, float zero_point, int32_t qmin,
                      int32_t qmax, float unit);

// The same on a grid of any ascending levels: out[i] = (level - zero_point) * unit, with the level nearest to in[i] /
// scale + zero_point. `midpoints` (one less) separate each level from the next; a value on one goes to the lower level.
void FakeQuantizeLevelsSpan(const float* in, float* out, int64_t size, float scale, float zero_point,
                            const std::vector<float>& levels, const std::vector<float>& midpoints, float unit);

// y[i] = y[i] * factor[i] + addend[i], rounded twice. The three do not overlap.
void MultiplyAddSpan(const float* factor, const float* addend, float* y, int64_t size);

// If not_finite is not 0 the rest means nothing. Of no values at all, min and max are +inf and -inf.
struct SpanSummary {
  float min;
  float max;
  double sum_abs;
  int64_t not_finite;
};
SpanSummary SummarizeSpan(const float* values, int64_t size);

// y[i] -= factor * x[i], a product and a difference for each, not fused. x and y do not overlap.
void SubtractMultiple(double factor, const double* x, double* y, int64_t size);

// FakeQuantizeSpan and FakeQuantizeLevelsSpan compiled for the baseline alone, so that tests reach it on every machine.
void FakeQuantizeSpanPortable(const float* in, float* out, int64_t size, float scale, float zero_point, int32_t qmin,
                              int32_t qmax, float unit);
void FakeQuantizeLevelsSpanPortable(const float* in, float* out, int64_t size, float scale, float zero_point,
                                    const std::vector<float>& levels, const std::vector<float>& midpoints, float unit);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_SPAN_KERNELS_H_
