// Additive powers of two. docs/quantizers/apot.md says more.

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/field_error.h"
#include "quant/channel_grid.h"
#include "quant/fake_quantize.h"
#include "quant/parallel_for.h"
#include "quant/quantizer_registry.h"
#include "quant/range_error.h"
#include "quant/range_grid.h"
#include "quant/span_kernels.h"
#include "quantizers/apot/options.pb.h"

namespace lowbit {
namespace {

constexpr float kSmallestScale = 1e-20f;

// The exponents of the sets that a level takes one member of each from: 2^-e, or nothing. They are dealt out from 1 on
// in three rounds, one to each set of four and in the second round one to the set of two.
std::vector<std::vector<int>> Sets(int magnitude_bits) {
  const size_t fours = static_cast<size_t>(magnitude_bits / 2);
  const bool has_two = magnitude_bits % 2 == 1;
  std::vector<std::vector<int>> sets(fours + (has_two ? 1 : 0));
  int exponent = 0;
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < fours; ++i) sets[i].push_back(++exponent);
    if (has_two && round == 1) sets.back().push_back(++exponent);
  }
  return sets;
}

// The levels of one side of 0, with it, in units of the smallest power of two.
std::vector<int32_t> Magnitudes(int magnitude_bits) {
  const std::vector<std::vector<int>> sets = Sets(magnitude_bits);
  int largest_exponent = 0;
  for (const auto& set : sets) largest_exponent = std::max(largest_exponent, set.back());
  std::set<int32_t> sums = {0};
  for (const auto& set : sets) {
    std::set<int32_t> next = sums;
    for (const int32_t sum : sums) {
      for (const int exponent : set) next.insert(sum + (int32_t{1} << (largest_exponent - exponent)));
    }
    sums = next;
  }
  return std::vector<int32_t>(sums.begin(), sums.end());
}

std::vector<int32_t> SignedLevels(int bits) {
  const std::vector<int32_t> magnitudes = Magnitudes(bits - 1);
  std::vector<int32_t> levels;
  for (auto it = magnitudes.rbegin(); *it > 0; ++it) levels.push_back(-*it);
  levels.insert(levels.end(), magnitudes.begin(), magnitudes.end());
  return levels;
}

class Apot : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const ApotOptions& options) {
    if (!(options.p() >= 1 && options.p() <= 10)) {
      return FieldError("p", absl::StrCat("must be in [1, 10], got ", options.p()));
    }
    if (options.candidates() < 2 || options.candidates() > 10000) {
      return FieldError("candidates", absl::StrCat("must be in [2, 10000], got ", options.candidates()));
    }
    return std::unique_ptr<Quantizer>(new Apot(options));
  }

  StatsRequest stats_request() const override {
    StatsRequest request;
    request.min_max = true;
    request.histogram = true;
    return request;
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    const absl::Status status = SupportsEverything(layer, role, bits);
    if (!status.ok() || (bits >= 2 && bits <= 8)) return status;
    return FieldError("bits", absl::StrCat("must be 2 to 8 for apot, got ", bits));
  }

 private:
  explicit Apot(const ApotOptions& options)
      : p_(options.p()),
        candidates_(options.candidates()),
        per_tensor_(options.weight_granularity() == RangeOptions::PER_TENSOR) {}

  // The scale for levels up to `largest`: alpha / largest, alpha the fraction of `magnitude` of the smallest error.
  template <typename Error>
  float BestScale(float magnitude, int32_t largest, const Error& error) const {
    if (magnitude == 0) return 1;
    float best = 0;
    double best_error = 0;
    for (int i = candidates_; i > 0; --i) {
      const double alpha = static_cast<double>(magnitude) * i / candidates_;
      const float scale = std::max(static_cast<float>(alpha / largest), kSmallestScale);
      const double here = error(scale);
      if (i == candidates_ || here < best_error) {
        best = scale;
        best_error = here;
      }
    }
    return best;
  }

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    const int64_t groups = per_tensor_ ? 1 : view.weight.size(0);
    const int64_t size = view.weight.numel() / groups;
    QuantParams params;
    params.bits = view.bits;
    params.levels = SignedLevels(view.bits);
    params.scale.resize(static_cast<size_t>(groups));
    params.zero_point.assign(static_cast<size_t>(groups), 0);
    ParallelFor(groups, [&](int64_t g) {
      const float* const values = view.weight.data_ptr<float>() + g * size;
      const SpanSummary summary = SummarizeSpan(values, size);
      const float magnitude = std::max(-summary.min, summary.max);
      params.scale[static_cast<size_t>(g)] = BestScale(magnitude, params.levels.back(), [&](float scale) {
        const ChannelGrid grid(OneChannel(params, scale), 0);
        return GridError(absl::MakeConstSpan(values, static_cast<size_t>(size)), grid, p_,
                         static_cast<double>(magnitude));
      });
    });
    at::Tensor codes = Quantize(view.weight, params);
    return QuantizedTensor{std::move(params), std::move(codes)};
  }

  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const override {
    const TensorStatistics& statistics = view.statistics;
    const Range extremes{std::min(statistics.min(), 0.0f), std::max(statistics.max(), 0.0f)};
    QuantParams params;
    params.bits = view.bits;
    if (!IsOneSided(extremes)) {
      params.levels = SignedLevels(view.bits);
    } else {
      params.is_signed = false;
      params.levels = Magnitudes(view.bits);
      if (extremes.lo < 0) {
        std::reverse(params.levels.begin(), params.levels.end());
        for (int32_t& level : params.levels) level = -level;
      }
    }
    params.zero_point = {0};
    const int32_t largest = std::max(-params.levels.front(), params.levels.back());
    params.scale = {BestScale(Magnitude(extremes), largest, [&](float scale) {
      return GridError(statistics.histogram(), extremes, ChannelGrid(OneChannel(params, scale), 0), p_,
                       static_cast<double>(Magnitude(extremes)));
    })};
    return params;
  }

  static QuantParams OneChannel(const QuantParams& params, float scale) {
    QuantParams one;
    one.bits = params.bits;
    one.is_signed = params.is_signed;
    one.levels = params.levels;
    one.scale = {scale};
    one.zero_point = {0};
    return one;
  }

  const double p_;
  const int candidates_;
  const bool per_tensor_;
};

LOWBIT_REGISTER_QUANTIZER("apot", ApotOptions, Apot);

}  // namespace
}  // namespace lowbit
