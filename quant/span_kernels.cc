// Compiled with -O3: at -O2 GCC leaves such loops scalar. The bodies are forced inline into one function per processor,
// so that each is compiled for it (unlike target_clones, which needs ifunc, this also works under the sanitizers).

#include "quant/span_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__x86_64__) && defined(__GNUC__)
#define LOWBIT_HAVE_AVX2_VARIANT 1
#define LOWBIT_TARGET_AVX2 __attribute__((target("avx2")))
#else
#define LOWBIT_HAVE_AVX2_VARIANT 0
#endif
#define LOWBIT_INLINE inline __attribute__((always_inline))

namespace lowbit {
namespace {

// Everything that is the same for all elements of a span.
struct Grid {
  float scale;
  float zero_point;
  float qmin;
  float qmax;
  float unit;
};

// Adding and taking away 1.5 * 2^23 leaves no bits below 1: the processor's own rounding, half to even, for |x| up
// to 2^22. It also turns -0 into +0, as the way over an integer does in affine.h.
constexpr float kRoundToWhole = 12582912.0f;

// The comparisons are written so that NaN passes through both.
LOWBIT_INLINE float FakeQuantizeOne(float x, const Grid& grid) {
  const float shifted = x / grid.scale + grid.zero_point;
  const float raised = shifted < grid.qmin ? grid.qmin : shifted;
  const float clamped = raised > grid.qmax ? grid.qmax : raised;
  const float q = (clamped + kRoundToWhole) - kRoundToWhole;
  return (q - grid.zero_point) * grid.unit;
}

// In place and not are loops of their own: the compiler would guard a common one against overlap, and then not
// vectorize just the case in place.
LOWBIT_INLINE void FakeQuantizeBody(const float* in, float* out, int64_t size, const Grid& grid_in) {
  const Grid grid = grid_in;
  if (in == out) {
    for (int64_t i = 0; i < size; ++i) out[i] = FakeQuantizeOne(out[i], grid);
  } else {
    const float* __restrict from = in;
    float* __restrict to = out;
    for (int64_t i = 0; i < size; ++i) to[i] = FakeQuantizeOne(from[i], grid);
  }
}

struct LevelGrid {
  float scale;
  float zero_point;
  const float* values;  // of the levels: (level - zero_point) * unit
  const float* midpoints;
  int64_t count;
};

// Comparing with one midpoint after the other, many values at a time, beats searching for up to so many levels.
constexpr int64_t kMostCompared = 32;
constexpr int64_t kLevelBlock = 256;

LOWBIT_INLINE void FakeQuantizeLevelsBlock(const float* in, float* out, int64_t size, const LevelGrid& grid) {
  float shifted[kLevelBlock];
  float result[kLevelBlock];
  for (int64_t i = 0; i < size; ++i) shifted[i] = in[i] / grid.scale + grid.zero_point;
  for (int64_t i = 0; i < size; ++i) result[i] = shifted[i] == shifted[i] ? grid.values[0] : shifted[i];
  for (int64_t k = 1; k < grid.count; ++k) {
    const float midpoint = grid.midpoints[k - 1];
    const float value = grid.values[k];
    for (int64_t i = 0; i < size; ++i) result[i] = shifted[i] > midpoint ? value : result[i];
  }
  std::memcpy(out, result, static_cast<size_t>(size) * sizeof(float));
}

LOWBIT_INLINE void FakeQuantizeLevelsBody(const float* in, float* out, int64_t size, const LevelGrid& grid) {
  for (int64_t done = 0; done < size; done += kLevelBlock) {
    FakeQuantizeLevelsBlock(in + done, out + done, std::min(kLevelBlock, size - done), grid);
  }
}

void SearchLevels(const float* in, float* out, int64_t size, const LevelGrid& grid) {
  for (int64_t i = 0; i < size; ++i) {
    const float shifted = in[i] / grid.scale + grid.zero_point;
    const float* const end = grid.midpoints + grid.count - 1;
    out[i] =
        std::isnan(shifted) ? shifted : grid.values[std::lower_bound(grid.midpoints, end, shifted) - grid.midpoints];
  }
}

LOWBIT_INLINE void MultiplyAddBody(const float* __restrict factor, const float* __restrict addend, float* __restrict y,
                                   int64_t size) {
  for (int64_t i = 0; i < size; ++i) y[i] = y[i] * factor[i] + addend[i];
}

LOWBIT_INLINE void SubtractMultipleBody(double factor, const double* __restrict x, double* __restrict y, int64_t size) {
  for (int64_t i = 0; i < size; ++i) y[i] -= factor * x[i];
}

#if LOWBIT_HAVE_AVX2_VARIANT

LOWBIT_TARGET_AVX2 void FakeQuantizeLevelsSpanAvx2(const float* in, float* out, int64_t size, const LevelGrid& grid) {
  FakeQuantizeLevelsBody(in, out, size, grid);
}

LOWBIT_TARGET_AVX2 void MultiplyAddAvx2(const float* factor, const float* addend, float* y, int64_t size) {
  MultiplyAddBody(factor, addend, y, size);
}

LOWBIT_TARGET_AVX2 void SubtractMultipleAvx2(double factor, const double* x, double* y, int64_t size) {
  SubtractMultipleBody(factor, x, y, size);
}

LOWBIT_TARGET_AVX2 void FakeQuantizeSpanAvx2(const float* in, float* out, int64_t size, const Grid& grid) {
  FakeQuantizeBody(in, out, size, grid);
}

bool HaveAvx2() {
  static const bool have = __builtin_cpu_supports("avx2") != 0;
  return have;
}

#endif

Grid MakeGrid(float scale, float zero_point, int32_t qmin, int32_t qmax, float unit) {
  return Grid{scale, zero_point, static_cast<float>(qmin), static_cast<float>(qmax), unit};
}

std::vector<float> LevelValues(float zero_point, const std::vector<float>& levels, float unit) {
  std::vector<float> values;
  for (const float level : levels) values.push_back((level - zero_point) * unit);
  return values;
}

LevelGrid MakeLevelGrid(float scale, float zero_point, const std::vector<float>& values,
                        const std::vector<float>& midpoints) {
  return LevelGrid{scale, zero_point, values.data(), midpoints.data(), static_cast<int64_t>(values.size())};
}

// Four vectors of four running values of each kind: the compiler may not make them of one by itself, as that reorders
// a sum, and a single vector would wait for its own last result.
constexpr int kWidth = 4;
constexpr int kVectors = 4;
constexpr int kStride = kWidth * kVectors;
constexpr int kBlock = 64 * kStride;  // values whose |x| are summed in float32
typedef float FloatVector __attribute__((vector_size(kWidth * sizeof(float))));
typedef int32_t IntVector __attribute__((vector_size(kWidth * sizeof(int32_t))));

struct Lanes {
  FloatVector min[kVectors];
  FloatVector max[kVectors];
  FloatVector sum_abs[kVectors];
};

LOWBIT_INLINE void SummarizeStride(const float* values, Lanes& lanes) {
  for (int v = 0; v < kVectors; ++v) {
    FloatVector x;
    std::memcpy(&x, values + v * kWidth, sizeof(x));
    IntVector bits;
    std::memcpy(&bits, &x, sizeof(x));
    bits &= 0x7fffffff;
    FloatVector magnitude;
    std::memcpy(&magnitude, &bits, sizeof(x));
    lanes.min[v] = x < lanes.min[v] ? x : lanes.min[v];
    lanes.max[v] = x > lanes.max[v] ? x : lanes.max[v];
    lanes.sum_abs[v] += magnitude;
  }
}

void SummarizeScalar(const float* values, int64_t size, SpanSummary* total) {
  for (int64_t i = 0; i < size; ++i) {
    const float x = values[i];
    total->min = x < total->min ? x : total->min;
    total->max = x > total->max ? x : total->max;
    total->sum_abs += static_cast<double>(std::fabs(x));
    total->not_finite += std::isfinite(x) ? 0 : 1;
  }
}

void SummarizeBlock(const float* values, SpanSummary* total) {
  Lanes lanes;
  for (int v = 0; v < kVectors; ++v) {
    lanes.min[v] = FloatVector{} + total->min;
    lanes.max[v] = FloatVector{} + total->max;
    lanes.sum_abs[v] = FloatVector{};
  }
  for (int i = 0; i < kBlock; i += kStride) SummarizeStride(values + i, lanes);
  double sum_abs = 0;
  for (int v = 0; v < kVectors; ++v) {
    for (int j = 0; j < kWidth; ++j) sum_abs += static_cast<double>(lanes.sum_abs[v][j]);
  }
  // Here one value was not finite, or the sum went beyond float32's range.
  if (!std::isfinite(sum_abs)) return SummarizeScalar(values, kBlock, total);
  total->sum_abs += sum_abs;
  for (int v = 0; v < kVectors; ++v) {
    for (int j = 0; j < kWidth; ++j) {
      total->min = lanes.min[v][j] < total->min ? lanes.min[v][j] : total->min;
      total->max = lanes.max[v][j] > total->max ? lanes.max[v][j] : total->max;
    }
  }
}

}  // namespace

void FakeQuantizeSpanPortable(const float* in, float* out, int64_t size, float scale, float zero_point, int32_t qmin,
                              int32_t qmax, float unit) {
  FakeQuantizeBody(in, out, size, MakeGrid(scale, zero_point, qmin, qmax, unit));
}

void FakeQuantizeSpan(const float* in, float* out, int64_t size, float scale, float zero_point, int32_t qmin,
                      int32_t qmax, float unit) {
#if LOWBIT_HAVE_AVX2_VARIANT
  if (HaveAvx2()) return FakeQuantizeSpanAvx2(in, out, size, MakeGrid(scale, zero_point, qmin, qmax, unit));
#endif
  FakeQuantizeSpanPortable(in, out, size, scale, zero_point, qmin, qmax, unit);
}

void FakeQuantizeLevelsSpanPortable(const float* in, float* out, int64_t size, float scale, float zero_point,
                                    const std::vector<float>& levels, const std::vector<float>& midpoints, float unit) {
  const std::vector<float> values = LevelValues(zero_point, levels, unit);
  FakeQuantizeLevelsBody(in, out, size, MakeLevelGrid(scale, zero_point, values, midpoints));
}

void FakeQuantizeLevelsSpan(const float* in, float* out, int64_t size, float scale, float zero_point,
                            const std::vector<float>& levels, const std::vector<float>& midpoints, float unit) {
  const std::vector<float> values = LevelValues(zero_point, levels, unit);
  const LevelGrid grid = MakeLevelGrid(scale, zero_point, values, midpoints);
  if (grid.count > kMostCompared) return SearchLevels(in, out, size, grid);
#if LOWBIT_HAVE_AVX2_VARIANT
  if (HaveAvx2()) return FakeQuantizeLevelsSpanAvx2(in, out, size, grid);
#endif
  FakeQuantizeLevelsBody(in, out, size, grid);
}

void MultiplyAddSpan(const float* factor, const float* addend, float* y, int64_t size) {
#if LOWBIT_HAVE_AVX2_VARIANT
  if (HaveAvx2()) return MultiplyAddAvx2(factor, addend, y, size);
#endif
  MultiplyAddBody(factor, addend, y, size);
}

void SubtractMultiple(double factor, const double* x, double* y, int64_t size) {
#if LOWBIT_HAVE_AVX2_VARIANT
  if (HaveAvx2()) return SubtractMultipleAvx2(factor, x, y, size);
#endif
  SubtractMultipleBody(factor, x, y, size);
}

SpanSummary SummarizeSpan(const float* values, int64_t size) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  SpanSummary total{kInfinity, -kInfinity, 0, 0};
  int64_t done = 0;
  for (; done + kBlock <= size; done += kBlock) SummarizeBlock(values + done, &total);
  SummarizeScalar(values + done, size - done, &total);
  return total;
}

}  // namespace lowbit
