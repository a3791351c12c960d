#include "quant/weight_grids.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "quant/parallel_for.h"
#include "quant/span_kernels.h"

namespace lowbit {
namespace {

absl::Span<const float> Group(const at::Tensor& weight, int64_t groups, int64_t group) {
  const int64_t size = weight.numel() / groups;
  return absl::MakeConstSpan(weight.data_ptr<float>() + group * size, static_cast<size_t>(size));
}

SpanSummary Summarize(absl::Span<const float> values) {
  return SummarizeSpan(values.data(), static_cast<int64_t>(values.size()));
}

QuantParams OneBitGrids(const at::Tensor& weight, int64_t groups) {
  std::vector<float> magnitudes;
  for (int64_t g = 0; g < groups; ++g) {
    const auto group = Group(weight, groups, g);
    magnitudes.push_back(OneBitMagnitude(Summarize(group).sum_abs / static_cast<double>(group.size())));
  }
  return SignParams(magnitudes);
}

Grid WeightGrid(absl::Span<const float> weights, int bits, bool symmetric, const FindWeightRange& find_range) {
  const SpanSummary summary = Summarize(weights);
  const Range extremes{std::min(summary.min, 0.0f), std::max(summary.max, 0.0f)};
  if (IsZero(extremes)) return MakeGrid(extremes, symmetric, bits);
  const Range range = find_range(weights, RangeQuery{extremes, symmetric, bits});
  return MakeGrid(IsZero(range) ? extremes : range, symmetric, bits);
}

}  // namespace

QuantParams MakeWeightGrids(const at::Tensor& weight, int bits, const WeightScheme& scheme,
                            const FindWeightRange& find_range) {
  const int64_t groups = scheme.per_tensor ? 1 : weight.size(0);
  if (bits == 1) return OneBitGrids(weight, groups);
  QuantParams params;
  params.bits = bits;
  params.is_signed = !scheme.affine;
  params.scale.resize(static_cast<size_t>(groups));
  params.zero_point.resize(static_cast<size_t>(groups));
  ParallelFor(groups, [&](int64_t g) {
    const Grid grid = WeightGrid(Group(weight, groups, g), bits, !scheme.affine, find_range);
    params.scale[static_cast<size_t>(g)] = grid.scale;
    params.zero_point[static_cast<size_t>(g)] = grid.zero_point;
  });
  return params;
}

QuantParams SearchedGrids::Of(const at::Tensor& weight, int bits) const {
  return MakeWeightGrids(weight, bits, scheme_, [this](absl::Span<const float> weights, const RangeQuery& query) {
    return search_.OfWeights(weights, query);
  });
}

}  // namespace lowbit
