#include "quant/integer_weight.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/types/span.h"
#include "quant/packing.h"

namespace lowbit {
namespace {

// One channel: the levels in use. False if they do not fit.
bool FitLevels(absl::Span<const int32_t> levels, double scale, double zero_point, IntegerWeight* weight) {
  const auto [low, high] = std::minmax_element(levels.begin(), levels.end());
  for (const int32_t factor : {1, 2}) {
    const double shift = zero_point * factor;
    if (shift != std::floor(shift)) continue;
    if (*low * factor - shift < -128 || *high * factor - shift > 127) continue;
    for (const int32_t level : levels) {
      weight->values.push_back(static_cast<int8_t>(level * factor - static_cast<int32_t>(shift)));
    }
    weight->scale.push_back(scale / factor);
    weight->zero_point.push_back(0);
    return true;
  }
  if (*high - *low > 255) return false;
  const int32_t shift = std::min(*low + 128, std::max(*high - 127, static_cast<int32_t>(std::lround(zero_point))));
  for (const int32_t level : levels) weight->values.push_back(static_cast<int8_t>(level - shift));
  weight->scale.push_back(scale);
  weight->zero_point.push_back(zero_point - shift);
  return true;
}

}  // namespace

std::optional<IntegerWeight> ToIntegers(const PackedWeight& packed) {
  const QuantParams& params = packed.params;
  if (!params.bases.empty() || params.bits > 8) return std::nullopt;
  const size_t row = static_cast<size_t>(packed.row_size());
  std::vector<int32_t> levels(static_cast<size_t>(packed.rows()) * row);
  UnpackCodes(packed.codes, packed.row_size(), params.bits, params.qmin(), absl::MakeSpan(levels));
  if (!params.levels.empty()) {
    for (int32_t& level : levels) level = params.levels[static_cast<size_t>(level - params.qmin())];
  }
  IntegerWeight weight;
  for (size_t o = 0; o < static_cast<size_t>(packed.rows()); ++o) {
    const size_t channel = params.per_channel() ? o : 0;
    if (!FitLevels(absl::MakeConstSpan(levels).subspan(o * row, row), params.scale[channel], params.zero_point[channel],
                   &weight)) {
      return std::nullopt;
    }
  }
  return weight;
}

bool SumsFit(const IntegerWeight& weight, int64_t max_code, int64_t most) {
  const size_t row = weight.values.size() / weight.scale.size();
  for (size_t o = 0; o < weight.scale.size(); ++o) {
    int64_t sum = 0;
    for (size_t i = 0; i < row; ++i) sum += std::max(1, std::abs(static_cast<int>(weight.values[o * row + i])));
    if (sum * max_code > most) return false;
  }
  return true;
}

}  // namespace lowbit
