// Sign and scale. docs/quantizers/xnor.md says more.

#include <algorithm>
#include <cmath>
#include <memory>
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
#include "quant/range_grid.h"
#include "quant/span_kernels.h"
#include "quantizers/xnor/options.pb.h"

namespace lowbit {
namespace {

// Some of the values, and how many times they are there.
struct Weighted {
  double value;
  double count;
};

// Two values, lo < hi, that stand for all others: scale = hi - lo, codes {-1, 0}, zero_point = -hi / scale.
struct Pair {
  double lo;
  double hi;
};

// Zero points end one grid outside of the codes: hi <= 3 (hi - lo), and hi >= -2 (hi - lo).
bool HasZeroPoint(const Pair& pair) {
  const double step = pair.hi - pair.lo;
  return step > 0 && pair.hi <= 3 * step && pair.hi >= -2 * step;
}

// The two means of the best cut of ascending values: of n - 1 cuts the one with the largest
//   (sum of the left)^2 / count of the left + (sum of the right)^2 / count of the right,
// which is the sum of x^2 less the sum of the squared errors. Among pairs with a zero point, -m and +m at the least.
Pair BestPair(const std::vector<Weighted>& ascending, double mean_abs) {
  double count = 0, sum = 0, sum_squares = 0;
  for (const Weighted& x : ascending) {
    count += x.count;
    sum += x.count * x.value;
    sum_squares += x.count * x.value * x.value;
  }
  Pair best{-mean_abs, mean_abs};
  // -m and +m leave sum (|x| - m)^2 = sum x^2 - count m^2.
  double explained = count * mean_abs * mean_abs;
  double left_count = 0, left_sum = 0;
  for (size_t i = 0; i + 1 < ascending.size(); ++i) {
    left_count += ascending[i].count;
    left_sum += ascending[i].count * ascending[i].value;
    const double right_count = count - left_count;
    const double right_sum = sum - left_sum;
    if (left_count == 0 || right_count <= 0) continue;
    const Pair pair{left_sum / left_count, right_sum / right_count};
    const double here = left_sum * pair.lo + right_sum * pair.hi;
    if (here > explained * (1 + 1e-12) && HasZeroPoint(pair)) {
      explained = here;
      best = pair;
    }
  }
  return best;
}

class Xnor : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const XnorOptions& options) {
    return std::unique_ptr<Quantizer>(new Xnor(options));
  }

  StatsRequest stats_request() const override {
    StatsRequest request;
    request.min_max = true;
    request.mean_abs = true;
    request.histogram = shift_activations_;
    return request;
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    const absl::Status status = SupportsEverything(layer, role, bits);
    if (!status.ok() || bits == 1) return status;
    return FieldError("bits", absl::StrCat("must be 1 for xnor, got ", bits, "; multi_base has more binary tensors"));
  }

 private:
  explicit Xnor(const XnorOptions& options)
      : shift_weights_(options.weight_variant() == XnorOptions::SHIFTED),
        shift_activations_(options.activation_variant() == XnorOptions::SHIFTED),
        per_tensor_(options.weight_granularity() == RangeOptions::PER_TENSOR) {}

  static void SetPair(const Pair& pair, size_t channel, QuantParams* params) {
    const double step = pair.hi - pair.lo;
    params->scale[channel] = 2 * OneBitMagnitude(step / 2);
    params->zero_point[channel] = pair.hi == -pair.lo ? -0.5f : static_cast<float>(0 - pair.hi / step);  // never -0
  }

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    const int64_t groups = per_tensor_ ? 1 : view.weight.size(0);
    const int64_t size = view.weight.numel() / groups;
    QuantParams params = SignParams(std::vector<float>(static_cast<size_t>(groups), 1));
    ParallelFor(groups, [&](int64_t g) {
      const float* const values = view.weight.data_ptr<float>() + g * size;
      const double mean_abs = SummarizeSpan(values, size).sum_abs / static_cast<double>(size);
      Pair pair{-mean_abs, mean_abs};
      if (shift_weights_) {
        std::vector<float> sorted(values, values + size);
        std::sort(sorted.begin(), sorted.end());
        std::vector<Weighted> ascending;
        for (const float x : sorted) ascending.push_back({static_cast<double>(x), 1});
        pair = BestPair(ascending, mean_abs);
      }
      SetPair(pair, static_cast<size_t>(g), &params);
    });
    KeepValuesFinite(&params);
    at::Tensor codes = Quantize(view.weight, params);
    return QuantizedTensor{std::move(params), std::move(codes)};
  }

  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const override {
    const TensorStatistics& statistics = view.statistics;
    const bool two_sided = statistics.min() < 0 && statistics.max() > 0;
    QuantParams params = SignParams({1});
    const double mean_abs = statistics.mean_abs();
    Pair pair{-mean_abs, mean_abs};
    if (shift_activations_) {
      pair = BestPair(Bins(statistics), mean_abs);
    } else if (!two_sided) {
      pair = statistics.min() < 0 ? Pair{-2 * mean_abs, 0} : Pair{0, 2 * mean_abs};
    }
    SetPair(pair, 0, &params);
    KeepValuesFinite(&params);
    return params;
  }

  // Each bin as its middle, between the extremes; zeros that stand out of theirs as 0.
  static std::vector<Weighted> Bins(const TensorStatistics& statistics) {
    const Histogram& histogram = statistics.histogram();
    std::vector<Weighted> values;
    for (int i = 0; i < Histogram::kBins; ++i) {
      double count = static_cast<double>(histogram.counts()[static_cast<size_t>(i)]);
      if (count == 0) continue;
      if (i == Histogram::kBins / 2) {
        values.push_back({0, static_cast<double>(histogram.EstimatedZeros())});
        count -= values.back().count;
      }
      const double lo = std::max(histogram.bin_lower(i), static_cast<double>(statistics.min()));
      const double hi = std::min(histogram.bin_lower(i + 1), static_cast<double>(statistics.max()));
      values.push_back({(lo + hi) / 2, count});
    }
    return values;
  }

  const bool shift_weights_;
  const bool shift_activations_;
  const bool per_tensor_;
};

LOWBIT_REGISTER_QUANTIZER("xnor", XnorOptions, Xnor);

}  // namespace
}  // namespace lowbit
