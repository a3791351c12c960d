// The naive scheme of the project that Lowbit started from (lbobserver.py in AndrewSultan/ptq_resnet20), kept to the
// letter, so that its table can be reproduced. The formulas are in options.proto.

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "quant/affine.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer.h"
#include "quant/quantizer_registry.h"
#include "quant/span_kernels.h"
#include "quantizers/min_max/options.pb.h"

namespace lowbit {
namespace {

class MinMax : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const MinMaxOptions& options) {
    const float min_scale = options.min_scale();
    if (!std::isfinite(min_scale) || !(min_scale > 0)) {
      return FieldError("min_scale", absl::StrCat("must be finite and above 0, got ", min_scale));
    }
    return std::unique_ptr<Quantizer>(new MinMax(min_scale));
  }

  StatsRequest stats_request() const override {
    StatsRequest request;
    request.min_max = true;
    request.mean_abs = true;  // for one bit
    return request;
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsEverything(layer, role, bits);
  }

 private:
  explicit MinMax(float min_scale) : min_scale_(min_scale) {}

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    const int64_t channels = view.weight.size(0);
    const int64_t channel_size = view.weight.numel() / channels;
    const float* const weights = view.weight.data_ptr<float>();
    const float half_grid = std::ldexp(1.0f, view.bits - 1);

    QuantParams params;
    params.bits = view.bits;
    std::vector<float> mean_magnitudes;
    for (int64_t c = 0; c < channels; ++c) {
      const SpanSummary channel = SummarizeSpan(weights + c * channel_size, channel_size);
      // scale = max|w| / 2^(bits-1)
      const float max_abs = std::max(-channel.min, channel.max);
      params.scale.push_back(std::max(max_abs / half_grid, min_scale_));
      params.zero_point.push_back(0);
      mean_magnitudes.push_back(Magnitude(channel.sum_abs / static_cast<double>(channel_size)));
    }
    if (view.bits == 1) params = SignParams(mean_magnitudes);
    return QuantizedTensor{params, Quantize(view.weight, params)};
  }

  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const override {
    if (view.bits == 1) return SignParams({Magnitude(view.statistics.mean_abs())});
    QuantParams params;
    params.bits = view.bits;
    const float half_grid = std::ldexp(1.0f, view.bits - 1);
    // lo = min(min x, 0), hi = max(max x, 0), scale = (hi - lo) / 2^bits (each by itself, lest the difference
    // overflows; dividing by a power of two rounds nothing)
    const float lo = std::min(view.statistics.min(), 0.0f);
    const float hi = std::max(view.statistics.max(), 0.0f);
    const float scale = std::max(hi / (2 * half_grid) - lo / (2 * half_grid), min_scale_);
    // zero_point = clamp(-2^(bits-1) - round(lo / scale), -2^(bits-1), 2^(bits-1))
    // - The original divides by the scale before it is raised to min_scale. What x becomes is the same (the codes are
    //   shifted by a whole number, and none is clipped), but for a tensor of zeros that is 0 / 0.
    // - The upper limit is the original's: a tensor without a positive value gets a zero point one above qmax.
    params.scale = {scale};
    params.zero_point = {std::min(std::max(-half_grid - RoundHalfToEven(lo / scale), -half_grid), half_grid)};
    return params;
  }

  // The one-bit scale is twice this.
  float Magnitude(double mean_abs) const { return std::max(static_cast<float>(mean_abs), min_scale_ / 2); }

  const float min_scale_;
};

LOWBIT_REGISTER_QUANTIZER("min_max", MinMaxOptions, MinMax);

}  // namespace
}  // namespace lowbit
