#include "quant/quant_params.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"

namespace lowbit {

namespace {

constexpr int32_t kMostLevel = 1 << 15;

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

absl::Status CheckLevels(const QuantParams& params) {
  const std::vector<int32_t>& levels = params.levels;
  if (params.bits < 2 || params.bits > 8) {
    return Invalid(absl::StrCat("levels are for 2 to 8 bits, got ", params.bits));
  }
  const size_t codes = size_t{1} << params.bits;
  if (levels.size() < 2 || levels.size() > codes) {
    return Invalid(absl::StrCat("there must be 2 to ", codes, " levels, got ", levels.size()));
  }
  for (size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] < -kMostLevel || levels[i] > kMostLevel) {
      return Invalid(absl::StrCat("levels[", i, "] must be within +-", kMostLevel, ", got ", levels[i]));
    }
    if (i > 0 && levels[i] <= levels[i - 1]) {
      return Invalid(absl::StrCat("levels must ascend, but levels[", i, "] is ", levels[i], " after ", levels[i - 1]));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBases(const QuantParams& params) {
  if (params.bits < 2 || params.bits > 8) {
    return Invalid(absl::StrCat("bases are for 2 to 8 bits, got ", params.bits));
  }
  const size_t wanted = params.scale.size() * static_cast<size_t>(params.bits - 1);
  if (params.bases.size() != wanted) {
    return Invalid(
        absl::StrCat("there must be bits - 1 bases for each scale, ", wanted, "; got ", params.bases.size()));
  }
  for (size_t i = 0; i < wanted; ++i) {
    if (!(params.bases[i] > 0 && params.bases[i] <= 1)) {
      return Invalid(absl::StrCat("bases[", i, "] must be in (0, 1], got ", params.bases[i]));
    }
  }
  return absl::OkStatus();
}

// Between the first and the last level, and so far outside.
struct ZeroPointRange {
  float lowest;
  float highest;
};

ZeroPointRange ZeroPoints(const QuantParams& params) {
  const float grid = static_cast<float>(int32_t{1} << params.bits);
  if (!params.levels.empty()) {
    const float first = static_cast<float>(params.levels.front());
    const float last = static_cast<float>(params.levels.back());
    return {first - (last - first), last + (last - first)};
  }
  if (!params.bases.empty()) return {-grid, grid};
  return {static_cast<float>(params.qmin()) - grid, static_cast<float>(params.qmax()) + grid};
}

}  // namespace

absl::Status QuantParams::Validate() const {
  if (!IsSupportedWidth(bits)) {
    return Invalid(absl::StrCat("bits must be 1 to 8, or 16; got ", bits));
  }
  if (scale.empty() || scale.size() != zero_point.size()) {
    return Invalid(absl::StrCat("there must be as many zero points as scales, at least one; got ", scale.size(),
                                " scales and ", zero_point.size(), " zero points"));
  }
  if (!levels.empty() && !bases.empty()) return Invalid("there are both levels and bases");
  if (!levels.empty()) LOWBIT_RETURN_IF_ERROR(CheckLevels(*this));
  if (!bases.empty()) LOWBIT_RETURN_IF_ERROR(CheckBases(*this));
  const auto [lowest, highest] = ZeroPoints(*this);
  for (size_t i = 0; i < scale.size(); ++i) {
    if (!std::isfinite(scale[i]) || !(scale[i] > 0)) {
      return Invalid(absl::StrCat("scale[", i, "] must be finite and above 0, got ", scale[i]));
    }
    if (!(zero_point[i] >= lowest && zero_point[i] <= highest)) {
      return Invalid(absl::StrCat("zero_point[", i, "] must be in [", lowest, ", ", highest,
                                  "] (one grid around the codes), got ", zero_point[i]));
    }
  }
  return absl::OkStatus();
}

bool QuantParams::operator==(const QuantParams& other) const {
  return bits == other.bits && is_signed == other.is_signed && scale == other.scale && zero_point == other.zero_point &&
         levels == other.levels && bases == other.bases;
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
