#ifndef LOWBIT_QUANT_QUANT_PARAMS_H_
#define LOWBIT_QUANT_QUANT_PARAMS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace lowbit {

// How integer codes stand for real numbers, for one tensor:
//
//   x ~ scale * (level(q) - zero_point)
//
// On a uniform grid, which is what both lists at the end being empty means, level(q) = q, and
//
//   q = clamp(round_half_to_even(x / scale + zero_point), qmin, qmax)
//
// One bit is the same map with zero_point = -0.5 and q in {-1, 0}: the values are -scale / 2 and +scale / 2, so sign
// and mean magnitude m is scale = 2 m. (With an integer zero point it is {-scale, 0}, or unsigned {0, +scale}.)
//
// On any other grid q is the code whose level is nearest to x / scale + zero_point (of two equally near ones the lower
// level). quant/channel_grid.h has the arithmetic for all grids.
struct QuantParams {
  // 1 to 8, or 16.
  int bits = 8;

  // Signed codes lie in [-2^(bits-1), 2^(bits-1) - 1], unsigned ones in [0, 2^bits - 1].
  bool is_signed = true;

  // One of each for the whole tensor, or one of each for every index of the tensor's first dimension (the output
  // channels of a weight). Scales are finite and greater than 0. Zero points are finite, need not be whole, and lie at
  // most one grid (2^bits) outside of [qmin, qmax]; where there are levels or bases, outside of those.
  std::vector<float> scale;
  std::vector<float> zero_point;

  // level(q) = levels[q - qmin], the same for all channels: 2 to 2^bits whole numbers that ascend, within +-2^15, so
  // that a kernel can look them up and go on with integers. If there are fewer than 2^bits, codes end at the last one.
  // For 2 to 8 bits.
  std::vector<int32_t> levels;

  // level(q) = +-1 +- b_1 +- b_2 ... +- b_(bits-1), where bit i of q - qmin decides on the sign of b_i (1: plus) and
  // its lowest bit on that of the 1: `bits` binary tensors, each with a scale (multi-base binary). Here are bits - 1
  // bases in (0, 1] for each scale, those of a channel one after the other. For 2 to 8 bits.
  std::vector<float> bases;

  bool is_uniform() const { return levels.empty() && bases.empty(); }

  int32_t qmin() const { return is_signed ? -(int32_t{1} << (bits - 1)) : 0; }
  int32_t qmax() const {
    return qmin() + (levels.empty() ? int32_t{1} << bits : static_cast<int32_t>(levels.size())) - 1;
  }
  bool per_channel() const { return scale.size() > 1; }

  // InvalidArgument that says which of the above does not hold, and for which channel.
  absl::Status Validate() const;

  bool operator==(const QuantParams& other) const;
  bool operator!=(const QuantParams& other) const { return !(*this == other); }
};

// The map of one bit to -m and +m for each mean magnitude m > 0 (one for the tensor, or one for each channel).
QuantParams SignParams(const std::vector<float>& magnitudes);

// Whether codes of so many bits exist: 1 to 8, and 16.
bool IsSupportedWidth(int bits);

// OK for those; else a FieldError at "bits": `must be 1 to 8, or 16; got 12`.
absl::Status CheckWidth(int bits);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_QUANT_PARAMS_H_
