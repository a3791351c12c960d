#ifndef LOWBIT_QUANT_ACTIVATION_CODES_H_
#define LOWBIT_QUANT_ACTIVATION_CODES_H_

#include <cstdint>
#include <optional>

#include "quant/quant_params.h"

namespace lowbit {

// A tensor of one scale as whole numbers from 0 that a byte holds (docs/numerics.md, "The integer engine"):
//
//   u = level(q) - lowest_level        x ~ scale * (u - zero_point), u in [0, max_code]
struct ActivationCodes {
  float scale = 1;
  float zero_point = 0;
  int32_t lowest_level = 0;
  int32_t max_code = 0;
};

// Nothing where a byte does not hold them: 16 bits, or levels that are too far apart.
std::optional<ActivationCodes> ToActivationCodes(const QuantParams& params);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_ACTIVATION_CODES_H_
