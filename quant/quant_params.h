#ifndef LOWBIT_QUANT_QUANT_PARAMS_H_
#define LOWBIT_QUANT_QUANT_PARAMS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace lowbit {

// How integer codes stand for real numbers, for one tensor:
//
//   x ~ scale * (q - zero_point)     q = clamp(round_half_to_even(x / scale + zero_point), qmin, qmax)
//
// One bit is the same map with zero_point = -0.5 and q in {-1, 0}: the values are -scale / 2 and +scale / 2, so sign
// and mean magnitude m is scale = 2 m. (With an integer zero point it is {-scale, 0}, or unsigned {0, +scale}.)
struct QuantParams {
  // 1 to 8, or 16.
  int bits = 8;

  // Signed codes lie in [-2^(bits-1), 2^(bits-1) - 1], unsigned ones in [0, 2^bits - 1].
  bool is_signed = true;

  // One of each for the whole tensor, or one of each for every index of the tensor's first dimension (the output
  // channels of a weight). Scales are finite and greater than 0. Zero points are finite, need not be whole, and lie at
  // most one grid (2^bits) outside of [qmin, qmax].
  std::vector<float> scale;
  std::vector<float> zero_point;

  int32_t qmin() const { return is_signed ? -(int32_t{1} << (bits - 1)) : 0; }
  int32_t qmax() const { return qmin() + ((int32_t{1} << bits) - 1); }
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
