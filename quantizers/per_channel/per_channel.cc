// Uniform min-max quantization done right. The formulas are in options.proto.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/affine.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer.h"
#include "quant/quantizer_registry.h"
#include "quant/span_kernels.h"
#include "quantizers/per_channel/options.pb.h"

namespace lowbit {
namespace {

// Smaller ones would make floating point denormals of the values, at which processors slow down.
constexpr float kSmallestScale = 1e-20f;

// Signed codes with zero point 0 for two-sided symmetric ranges; unsigned ones for all others.
struct Grid {
  float scale;
  float zero_point;
};

double Steps(int bits) { return std::ldexp(1.0, bits) - 1; }

float ScaleOf(double range, int bits) {
  if (range == 0) return 1;
  // The outermost codes of a symmetric grid lie beyond the range: they too must stand for finite numbers.
  const double largest = std::ldexp(static_cast<double>(std::numeric_limits<float>::max()), -bits);
  return std::max(static_cast<float>(std::min(range / Steps(bits), largest)), kSmallestScale);
}

Grid SymmetricGrid(float lo, float hi, int bits) {
  // scale = 2 max|x| / (2^bits - 1)
  return Grid{ScaleOf(2.0 * std::max(-lo, hi), bits), 0};
}

// lo <= 0 <= hi.
Grid AffineGrid(float lo, float hi, int bits) {
  // scale = (hi - lo) / (2^bits - 1), zero_point = -round(lo / scale)
  const float scale = ScaleOf(static_cast<double>(hi) - static_cast<double>(lo), bits);
  const float zero_point = 0.0f - RoundHalfToEven(lo / scale);  // (and not -0 where lo is 0)
  return Grid{scale, std::min(zero_point, static_cast<float>(Steps(bits)))};
}

float Magnitude(double mean_abs) { return std::max(static_cast<float>(mean_abs), kSmallestScale / 2); }

class PerChannel : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const PerChannelOptions& options) {
    return std::unique_ptr<Quantizer>(new PerChannel(options));
  }

  StatsRequest stats_request() const override {
    StatsRequest request;
    request.min_max = true;  // for one bit also where the range is a moving average: is the tensor one-sided?
    request.moving_average = options_.activation_range() == PerChannelOptions::MOVING_AVERAGE;
    request.mean_abs = true;  // for one bit
    return request;
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsEverything(layer, role, bits);
  }

 private:
  explicit PerChannel(const PerChannelOptions& options) : options_(options) {}

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    const bool per_tensor = options_.weight_granularity() == PerChannelOptions::PER_TENSOR;
    const bool affine = options_.weight_scheme() == PerChannelOptions::AFFINE;
    const int64_t groups = per_tensor ? 1 : view.weight.size(0);
    const int64_t group_size = view.weight.numel() / groups;
    const float* const weights = view.weight.data_ptr<float>();

    QuantParams params;
    params.bits = view.bits;
    params.is_signed = !affine;
    std::vector<float> magnitudes;
    for (int64_t g = 0; g < groups; ++g) {
      const SpanSummary group = SummarizeSpan(weights + g * group_size, group_size);
      const float lo = std::min(group.min, 0.0f);
      const float hi = std::max(group.max, 0.0f);
      const Grid grid = affine ? AffineGrid(lo, hi, view.bits) : SymmetricGrid(lo, hi, view.bits);
      params.scale.push_back(grid.scale);
      params.zero_point.push_back(grid.zero_point);
      magnitudes.push_back(Magnitude(group.sum_abs / static_cast<double>(group_size)));
    }
    if (view.bits == 1) params = SignParams(magnitudes);
    return QuantizedTensor{params, Quantize(view.weight, params)};
  }

  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const override {
    const TensorStatistics& statistics = view.statistics;
    if (view.bits == 1) return FitOneBit(statistics);
    const bool moving = options_.activation_range() == PerChannelOptions::MOVING_AVERAGE;
    const float lo = std::min(moving ? statistics.moving_min() : statistics.min(), 0.0f);
    const float hi = std::max(moving ? statistics.moving_max() : statistics.max(), 0.0f);
    const bool symmetric = options_.activation_scheme() == PerChannelOptions::SYMMETRIC && lo < 0 && hi > 0;
    const Grid grid = symmetric ? SymmetricGrid(lo, hi, view.bits) : AffineGrid(lo, hi, view.bits);
    QuantParams params;
    params.bits = view.bits;
    params.is_signed = symmetric;
    params.scale = {grid.scale};
    params.zero_point = {grid.zero_point};
    return params;
  }

  static QuantParams FitOneBit(const TensorStatistics& statistics) {
    QuantParams params = SignParams({Magnitude(statistics.mean_abs())});
    if (statistics.min() < 0 && statistics.max() > 0) return params;
    params.is_signed = statistics.min() < 0;  // codes {-1, 0}, else {0, 1}
    params.zero_point = {0};
    return params;
  }

  const PerChannelOptions options_;
};

LOWBIT_REGISTER_QUANTIZER("per_channel", PerChannelOptions, PerChannel);

}  // namespace
}  // namespace lowbit
