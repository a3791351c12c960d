#ifndef LOWBIT_QUANT_RANGE_GRID_H_
#define LOWBIT_QUANT_RANGE_GRID_H_

#include <cstdint>

namespace lowbit {

// What a grid of codes is laid over: finite, lo <= 0 <= hi, so that 0 has a code.
struct Range {
  float lo = 0;
  float hi = 0;

  bool operator==(const Range& other) const { return lo == other.lo && hi == other.hi; }
};

// What a range is to be found for.
struct RangeQuery {
  Range extremes;  // the smallest and the largest value, and 0; not both are 0
  bool symmetric;  // the grid that will be laid over the range: MakeGrid(range, symmetric, bits)
  int bits;        // 2 to 8, or 16
};

// Whether there are values of one sign only (or none but 0).
inline bool IsOneSided(const Range& range) { return !(range.lo < 0 && range.hi > 0); }

// Whether there is nothing but 0.
inline bool IsZero(const Range& range) { return range.lo == 0 && range.hi == 0; }

// max(-lo, hi).
float Magnitude(const Range& range);

// Some candidates for a range shrink both sides by one factor.
inline Range Scaled(const Range& range, double factor) {
  return Range{static_cast<float>(range.lo * factor), static_cast<float>(range.hi * factor)};
}

// [lo, hi] cut where it reaches out of `extremes`.
Range Clipped(double lo, double hi, const Range& extremes);

// The arguments of affine.h: x ~ scale * (q - zero_point), q in [qmin, qmax].
struct Grid {
  float scale;
  float zero_point;
  int32_t qmin;
  int32_t qmax;
};

// The grid of 2^bits codes over a range; 0 is exactly a code. For 2 to 8 bits, or 16.
//
//   symmetric: scale = 2 max(-lo, hi) / (2^bits - 1), zero point 0, signed codes
//   affine:    scale = (hi - lo) / (2^bits - 1), zero point = -round(lo / scale), unsigned codes
//
// All codes stand for finite numbers, whatever the range, and no scale is smaller than 1e-20. The range {0, 0} gets
// scale 1.
Grid MakeGrid(const Range& range, bool symmetric, int bits);

// The magnitude m of a one-bit grid, kept from becoming 0: its scale 2 m is at least 1e-20.
float OneBitMagnitude(double mean_abs);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_RANGE_GRID_H_
