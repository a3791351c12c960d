#include "quant/quant_params.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"

namespace lowbit {

absl::Status QuantParams::Validate() const {
  if (!IsSupportedWidth(bits)) {
    return absl::InvalidArgumentError(absl::StrCat("bits must be 1 to 8, or 16; got ", bits));
  }
  if (scale.empty() || scale.size() != zero_point.size()) {
    return absl::InvalidArgumentError(absl::StrCat("there must be as many zero points as scales, at least one; got ",
                                                   scale.size(), " scales and ", zero_point.size(), " zero points"));
  }
  const float grid = static_cast<float>(int32_t{1} << bits);
  const float lowest = static_cast<float>(qmin()) - grid;
  const float highest = static_cast<float>(qmax()) + grid;
  for (size_t i = 0; i < scale.size(); ++i) {
    if (!std::isfinite(scale[i]) || !(scale[i] > 0)) {
      return absl::InvalidArgumentError(absl::StrCat("scale[", i, "] must be finite and above 0, got ", scale[i]));
    }
    if (!(zero_point[i] >= lowest && zero_point[i] <= highest)) {
      return absl::InvalidArgumentError(absl::StrCat("zero_point[", i, "] must be in [", lowest, ", ", highest,
                                                     "] (one grid around the codes), got ", zero_point[i]));
    }
  }
  return absl::OkStatus();
}

bool QuantParams::operator==(const QuantParams& other) const {
  return bits == other.bits && is_signed == other.is_signed && scale == other.scale && zero_point == other.zero_point;
}

QuantParams SignParams(const std::vector<float>& magnitudes) {
  QuantParams params;
  params.bits = 1;
  for (const float magnitude : magnitudes) {
    params.scale.push_back(std::min(2 * magnitude, std::numeric_limits<float>::max()));
  }
  params.zero_point.assign(magnitudes.size(), -0.5f);
  return params;
}

bool IsSupportedWidth(int bits) { return (bits >= 1 && bits <= 8) || bits == 16; }

absl::Status CheckWidth(int bits) {
  if (IsSupportedWidth(bits)) return absl::OkStatus();
  return FieldError("bits", absl::StrCat("must be 1 to 8, or 16; got ", bits));
}

}  // namespace lowbit
