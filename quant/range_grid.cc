#include "quant/range_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/affine.h"

namespace lowbit {
namespace {

// Smaller ones would make floating point denormals of the values, at which processors slow down.
constexpr float kSmallestScale = 1e-20f;

double Steps(int bits) { return std::ldexp(1.0, bits) - 1; }

float ScaleOf(double width, int bits) {
  if (width == 0) return 1;
  // The outermost codes of a symmetric grid lie beyond the range: they too must stand for finite numbers.
  const double largest = std::ldexp(static_cast<double>(std::numeric_limits<float>::max()), -bits);
  return std::max(static_cast<float>(std::min(width / Steps(bits), largest)), kSmallestScale);
}

}  // namespace

float Magnitude(const Range& range) { return std::max(-range.lo, range.hi); }

Range Clipped(double lo, double hi, const Range& extremes) {
  const double low = std::min(std::max(lo, static_cast<double>(extremes.lo)), 0.0);
  const double high = std::max(std::min(hi, static_cast<double>(extremes.hi)), 0.0);
  return Range{static_cast<float>(low), static_cast<float>(high)};
}

Grid MakeGrid(const Range& range, bool symmetric, int bits) {
  const int32_t codes = int32_t{1} << bits;
  if (symmetric) {
    // scale = 2 max|x| / (2^bits - 1)
    return Grid{ScaleOf(2.0 * Magnitude(range), bits), 0, -codes / 2, codes / 2 - 1};
  }
  // scale = (hi - lo) / (2^bits - 1), zero_point = -round(lo / scale)
  const float scale = ScaleOf(static_cast<double>(range.hi) - static_cast<double>(range.lo), bits);
  const float zero_point = 0.0f - RoundHalfToEven(range.lo / scale);  // (and not -0 where lo is 0)
  return Grid{scale, std::min(zero_point, static_cast<float>(Steps(bits))), 0, codes - 1};
}

float OneBitMagnitude(double mean_abs) { return std::max(static_cast<float>(mean_abs), kSmallestScale / 2); }

}  // namespace lowbit
