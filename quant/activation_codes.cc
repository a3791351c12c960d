#include "quant/activation_codes.h"

namespace lowbit {

std::optional<ActivationCodes> ToActivationCodes(const QuantParams& params) {
  if (params.bits > 8) return std::nullopt;
  ActivationCodes codes;
  codes.lowest_level = params.levels.empty() ? params.qmin() : params.levels.front();
  codes.max_code = (params.levels.empty() ? params.qmax() : params.levels.back()) - codes.lowest_level;
  if (codes.max_code > 255) return std::nullopt;
  codes.scale = params.scale.front();
  codes.zero_point = params.zero_point.front() - static_cast<float>(codes.lowest_level);
  return codes;
}

}  // namespace lowbit
