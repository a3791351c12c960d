#include "quant/channel_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace lowbit {
namespace {

// level(q) for q = qmin, qmin + 1, ...; empty on a uniform grid.
std::vector<float> LevelsByCode(const QuantParams& params, size_t channel) {
  std::vector<float> levels(params.levels.begin(), params.levels.end());
  if (params.bases.empty()) return levels;
  const size_t count = static_cast<size_t>(params.bits - 1);
  const float* const bases = params.bases.data() + channel * count;
  for (uint32_t u = 0; u < uint32_t{1} << params.bits; ++u) {
    float level = (u & 1) != 0 ? 1.0f : -1.0f;
    for (size_t i = 0; i < count; ++i) level += (u >> (i + 1) & 1) != 0 ? bases[i] : -bases[i];
    levels.push_back(level);
  }
  return levels;
}

}  // namespace

ChannelGrid::ChannelGrid(const QuantParams& params, size_t channel)
    : scale_(params.scale[params.per_channel() ? channel : 0]),
      zero_point_(params.zero_point[params.per_channel() ? channel : 0]),
      qmin_(params.qmin()),
      qmax_(params.qmax()),
      level_of_code_(LevelsByCode(params, params.per_channel() ? channel : 0)) {
  std::vector<size_t> order(level_of_code_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return level_of_code_[a] < level_of_code_[b]; });
  for (const size_t u : order) {
    if (!levels_.empty()) midpoints_.push_back((levels_.back() + level_of_code_[u]) / 2);
    levels_.push_back(level_of_code_[u]);
    codes_.push_back(qmin_ + static_cast<int32_t>(u));
  }
}

int32_t ChannelGrid::NearestLevel(float x) const {
  const float shifted = x / scale_ + zero_point_;
  const auto above = std::lower_bound(midpoints_.begin(), midpoints_.end(), shifted);  // the first not below
  return codes_[static_cast<size_t>(above - midpoints_.begin())];
}

std::vector<float> ChannelGrid::Values() const {
  std::vector<float> values;
  for (const float level : levels_) values.push_back((level - zero_point_) * scale_);
  if (!levels_.empty()) return values;
  for (int32_t q = qmin_; q <= qmax_; ++q) values.push_back(Dequantize(q));
  return values;
}

void KeepValuesFinite(QuantParams* params) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (size_t i = 0; i < params->scale.size(); ++i) {
    const ChannelGrid grid(*params, i);
    const bool uniform = grid.levels().empty();
    const float lowest = uniform ? static_cast<float>(grid.qmin()) : grid.levels().front();
    const float highest = uniform ? static_cast<float>(grid.qmax()) : grid.levels().back();
    const float steps = std::max(std::fabs(lowest - grid.zero_point()), std::fabs(highest - grid.zero_point()));
    float& scale = params->scale[i];
    scale = std::min(scale, kMax);
    while (std::isinf(steps * scale)) scale = std::min(kMax / steps, std::nextafter(scale, 0.0f));
  }
}

}  // namespace lowbit
