#include "quant/range_quantizer.h"

#include <algorithm>
#include <utility>

#include "quant/fake_quantize.h"
#include "quant/weight_grids.h"

namespace lowbit {
namespace {

QuantParams OneBitActivation(const TensorStatistics& statistics) {
  QuantParams params = SignParams({OneBitMagnitude(statistics.mean_abs())});
  if (statistics.min() < 0 && statistics.max() > 0) return params;
  params.is_signed = statistics.min() < 0;  // codes {-1, 0}, else {0, 1}
  params.zero_point = {0};
  return params;
}

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

absl::StatusOr<QuantizedTensor> RangeQuantizer::DoQuantizeWeight(const WeightView& view) const {
  QuantParams params = MakeWeightGrids(
      view.weight, view.bits, WeightScheme{schemes_.per_tensor_weights, schemes_.affine_weights},
      [this](absl::Span<const float> weights, const RangeQuery& query) { return WeightRange(weights, query); });
  at::Tensor codes = Quantize(view.weight, params);
  return QuantizedTensor{std::move(params), std::move(codes)};
}

absl::StatusOr<QuantParams> RangeQuantizer::DoFitActivation(const ActivationView& view) const {
  const TensorStatistics& statistics = view.statistics;
  if (view.bits == 1) return OneBitActivation(statistics);
  const Range extremes{std::min(statistics.min(), 0.0f), std::max(statistics.max(), 0.0f)};
  Range range;
  if (!IsZero(extremes)) {
    const bool symmetric = !schemes_.affine_activations && !IsOneSided(extremes);
    range = ActivationRange(statistics, RangeQuery{extremes, symmetric, view.bits});
    if (IsZero(range)) range = extremes;
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
