// Compiled with -O3, the bodies forced inline into one function per processor: as span_kernels.cc.

#include "learning/learned_kernels.h"

#include <algorithm>

#if defined(__x86_64__) && defined(__GNUC__)
#define LOWBIT_HAVE_AVX_VARIANTS 1
#define LOWBIT_TARGET_AVX2 __attribute__((target("avx2,fma")))
#define LOWBIT_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#else
#define LOWBIT_HAVE_AVX_VARIANTS 0
#endif
#define LOWBIT_INLINE inline __attribute__((always_inline))

namespace lowbit {
namespace {

// 1.5 * 2^23: see span_kernels.cc.
constexpr float kRoundToWhole = 12582912.0f;

// Sums run in so many lanes, as the compiler may not change the order of additions by itself.
constexpr int64_t kLanes = 32;

LOWBIT_INLINE float Clamp(float x, float low, float high) {
  const float raised = x < low ? low : x;
  return raised > high ? high : raised;
}

LOWBIT_INLINE float RoundToWhole(float x) { return (x + kRoundToWhole) - kRoundToWhole; }

template <bool kRandom>
LOWBIT_INLINE void ForwardLoop(const float* __restrict in, float* __restrict out, int64_t size, uint32_t first,
                               const LearnedGrid grid, const RandomKeep keep) {
  const float lowest = grid.relu ? 0.0f : -3.4e38f;
  for (int64_t i = 0; i < size; ++i) {
    const float r = in[i] < lowest ? lowest : in[i];
    const float q = RoundToWhole(Clamp(r / grid.scale + grid.zero_point, grid.qmin, grid.qmax));
    const float y = (q - grid.zero_point) * grid.scale;
    out[i] = kRandom && keep.Keeps(first + static_cast<uint32_t>(i)) ? r : y;
  }
}

LOWBIT_INLINE void ForwardBody(const float* in, float* out, int64_t size, int64_t first, const LearnedGrid& grid,
                               const RandomKeep& keep) {
  if (keep.threshold == 0) {
    ForwardLoop<false>(in, out, size, static_cast<uint32_t>(first), grid, keep);
  } else {
    ForwardLoop<true>(in, out, size, static_cast<uint32_t>(first), grid, keep);
  }
}

template <bool kRandom>
LOWBIT_INLINE double BackwardLoop(const float* __restrict in, const float* __restrict grad_out,
                                  float* __restrict grad_in, int64_t size, uint32_t first, const LearnedGrid grid,
                                  const RandomKeep keep) {
  const float lowest = grid.relu ? 0.0f : -3.4e38f;
  const float inside_low = grid.qmin - grid.slack;
  const float inside_high = grid.qmax + grid.slack;
  float lanes[kLanes] = {};
  const auto one = [&](int64_t i) {
    const float g = grad_out[i];
    const float r = in[i] < lowest ? lowest : in[i];
    const float shifted = r / grid.scale + grid.zero_point;
    const float q = RoundToWhole(Clamp(shifted, grid.qmin, grid.qmax));
    const bool inside = (shifted >= inside_low) & (shifted <= inside_high);
    const bool kept = kRandom && keep.Keeps(first + static_cast<uint32_t>(i));
    const bool open = (in[i] > lowest) & (inside | kept);
    grad_in[i] = open ? g : 0.0f;
    const float d = inside ? q - shifted : q - grid.zero_point;
    return kept ? 0.0f : g * d;
  };
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] += one(i + k);
  }
  double sum = 0;
  for (int64_t i = whole; i < size; ++i) sum += static_cast<double>(one(i));
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

LOWBIT_INLINE double BackwardBody(const float* in, const float* grad_out, float* grad_in, int64_t size, int64_t first,
                                  const LearnedGrid& grid, const RandomKeep& keep) {
  if (keep.threshold == 0) {
    return BackwardLoop<false>(in, grad_out, grad_in, size, static_cast<uint32_t>(first), grid, keep);
  }
  return BackwardLoop<true>(in, grad_out, grad_in, size, static_cast<uint32_t>(first), grid, keep);
}

LOWBIT_INLINE void MixBody(const float* __restrict a, const float* __restrict b, float* __restrict out, int64_t size,
                           int64_t first, const RandomKeep keep) {
  for (int64_t i = 0; i < size; ++i) out[i] = keep.Keeps(static_cast<uint32_t>(first + i)) ? a[i] : b[i];
}

LOWBIT_INLINE double SquaredErrorBody(const float* __restrict x, const float* __restrict target, float factor,
                                      float* __restrict gradient, int64_t size) {
  float lanes[kLanes] = {};
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) {
      const float d = x[i + k] - target[i + k];
      gradient[i + k] = factor * d;
      lanes[k] += d * d;
    }
  }
  double sum = 0;
  for (int64_t i = whole; i < size; ++i) {
    const float d = x[i] - target[i];
    gradient[i] = factor * d;
    sum += static_cast<double>(d * d);
  }
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

#if LOWBIT_HAVE_AVX_VARIANTS
enum class Level { kPortable, kAvx2, kAvx512 };

Level Detect() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return Level::kAvx512;
  }
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Level::kAvx2 : Level::kPortable;
}

const Level kLevel = Detect();

LOWBIT_TARGET_AVX2 void ForwardAvx2(const float* in, float* out, int64_t size, int64_t first, const LearnedGrid& grid,
                                    const RandomKeep& keep) {
  ForwardBody(in, out, size, first, grid, keep);
}
LOWBIT_TARGET_AVX512 void ForwardAvx512(const float* in, float* out, int64_t size, int64_t first,
                                        const LearnedGrid& grid, const RandomKeep& keep) {
  ForwardBody(in, out, size, first, grid, keep);
}
LOWBIT_TARGET_AVX2 double BackwardAvx2(const float* in, const float* grad_out, float* grad_in, int64_t size,
                                       int64_t first, const LearnedGrid& grid, const RandomKeep& keep) {
  return BackwardBody(in, grad_out, grad_in, size, first, grid, keep);
}
LOWBIT_TARGET_AVX512 double BackwardAvx512(const float* in, const float* grad_out, float* grad_in, int64_t size,
                                           int64_t first, const LearnedGrid& grid, const RandomKeep& keep) {
  return BackwardBody(in, grad_out, grad_in, size, first, grid, keep);
}
LOWBIT_TARGET_AVX2 void MixAvx2(const float* a, const float* b, float* out, int64_t size, int64_t first,
                                const RandomKeep& keep) {
  MixBody(a, b, out, size, first, keep);
}
LOWBIT_TARGET_AVX512 void MixAvx512(const float* a, const float* b, float* out, int64_t size, int64_t first,
                                    const RandomKeep& keep) {
  MixBody(a, b, out, size, first, keep);
}
LOWBIT_TARGET_AVX2 double SquaredErrorAvx2(const float* x, const float* target, float factor, float* gradient,
                                           int64_t size) {
  return SquaredErrorBody(x, target, factor, gradient, size);
}
LOWBIT_TARGET_AVX512 double SquaredErrorAvx512(const float* x, const float* target, float factor, float* gradient,
                                               int64_t size) {
  return SquaredErrorBody(x, target, factor, gradient, size);
}

#define LOWBIT_DISPATCH(name, ...)                                \
  if (kLevel == Level::kAvx512) return name##Avx512(__VA_ARGS__); \
  if (kLevel == Level::kAvx2) return name##Avx2(__VA_ARGS__)
#else
#define LOWBIT_DISPATCH(name, ...)
#endif

}  // namespace

void LearnedFakeQuantizeSpan(const float* in, float* out, int64_t size, int64_t first, const LearnedGrid& grid,
                             const RandomKeep& keep) {
  LOWBIT_DISPATCH(Forward, in, out, size, first, grid, keep);
  ForwardBody(in, out, size, first, grid, keep);
}

double LearnedFakeQuantizeBackwardSpan(const float* in, const float* grad_out, float* grad_in, int64_t size,
                                       int64_t first, const LearnedGrid& grid, const RandomKeep& keep) {
  LOWBIT_DISPATCH(Backward, in, grad_out, grad_in, size, first, grid, keep);
  return BackwardBody(in, grad_out, grad_in, size, first, grid, keep);
}

void MixSpan(const float* a, const float* b, float* out, int64_t size, int64_t first, const RandomKeep& keep) {
  LOWBIT_DISPATCH(Mix, a, b, out, size, first, keep);
  MixBody(a, b, out, size, first, keep);
}

double SquaredErrorSpan(const float* x, const float* target, float factor, float* gradient, int64_t size) {
  LOWBIT_DISPATCH(SquaredError, x, target, factor, gradient, size);
  return SquaredErrorBody(x, target, factor, gradient, size);
}

}  // namespace lowbit
