#include "quant/range_quantizer.h"

#include <algorithm>
#include <vector>

#include "quant/fake_quantize.h"
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

QuantParams OneBitWeights(const at::Tensor& weight, int64_t groups) {
  std::vector<float> magnitudes;
  for (int64_t g = 0; g < groups; ++g) {
    const auto group = Group(weight, groups, g);
    magnitudes.push_back(OneBitMagnitude(Summarize(group).sum_abs / static_cast<double>(group.size())));
  }
  return SignParams(magnitudes);
}

QuantParams OneBitActivation(const TensorStatistics& statistics) {
  QuantParams params = SignParams({OneBitMagnitude(statistics.mean_abs())});
  if (statistics.min() < 0 && statistics.max() > 0) return params;
  params.is_signed = statistics.min() < 0;  // codes {-1, 0}, else {0, 1}
  params.zero_point = {0};
  return params;
}

bool IsNothing(const Range& range) { return range.lo == 0 && range.hi == 0; }

}  // namespace

StatsRequest RangeQuantizer::stats_request() const {
  StatsRequest request;
  request.min_max = true;
  request.mean_abs = true;  // for one bit
  request.Merge(range_request());
  return request;
}

absl::Status RangeQuantizer::Supports(const Layer& layer, Role role, int bits) const {
  return SupportsEverything(layer, role, bits);
}

Range RangeQuantizer::WeightRange(absl::Span<const float>, const RangeQuery& query) const { return query.extremes; }

Range RangeQuantizer::ActivationRange(const TensorStatistics&, const RangeQuery& query) const { return query.extremes; }

Grid RangeQuantizer::WeightGrid(absl::Span<const float> weights, int bits) const {
  const SpanSummary summary = Summarize(weights);
  const Range extremes{std::min(summary.min, 0.0f), std::max(summary.max, 0.0f)};
  const bool symmetric = !schemes_.affine_weights;
  if (IsNothing(extremes)) return MakeGrid(extremes, symmetric, bits);
  const Range range = WeightRange(weights, RangeQuery{extremes, symmetric, bits});
  return MakeGrid(IsNothing(range) ? extremes : range, symmetric, bits);
}

absl::StatusOr<QuantizedTensor> RangeQuantizer::DoQuantizeWeight(const WeightView& view) const {
  const int64_t groups = schemes_.per_tensor_weights ? 1 : view.weight.size(0);
  QuantParams params;
  if (view.bits == 1) {
    params = OneBitWeights(view.weight, groups);
  } else {
    params.bits = view.bits;
    params.is_signed = !schemes_.affine_weights;
    params.scale.resize(static_cast<size_t>(groups));
    params.zero_point.resize(static_cast<size_t>(groups));
    ParallelFor(groups, [&](int64_t g) {
      const Grid grid = WeightGrid(Group(view.weight, groups, g), view.bits);
      params.scale[static_cast<size_t>(g)] = grid.scale;
      params.zero_point[static_cast<size_t>(g)] = grid.zero_point;
    });
  }
  at::Tensor codes = Quantize(view.weight, params);
  return QuantizedTensor{std::move(params), std::move(codes)};
}

absl::StatusOr<QuantParams> RangeQuantizer::DoFitActivation(const ActivationView& view) const {
  const TensorStatistics& statistics = view.statistics;
  if (view.bits == 1) return OneBitActivation(statistics);
  const Range extremes{std::min(statistics.min(), 0.0f), std::max(statistics.max(), 0.0f)};
  Range range;
  if (!IsNothing(extremes)) {
    const bool symmetric = !schemes_.affine_activations && !IsOneSided(extremes);
    range = ActivationRange(statistics, RangeQuery{extremes, symmetric, view.bits});
    if (IsNothing(range)) range = extremes;
  }
  // A method may have left one side only.
  const bool symmetric = !schemes_.affine_activations && !IsOneSided(range);
  const Grid grid = MakeGrid(range, symmetric, view.bits);
  QuantParams params;
  params.bits = view.bits;
  params.is_signed = symmetric;
  params.scale = {grid.scale};
  params.zero_point = {grid.zero_point};
  return params;
}

}  // namespace lowbit
