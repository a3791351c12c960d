// Symmetric quantization with scales that are powers of two, one for a tensor.

#include <algorithm>
#include <cmath>
#include <memory>

#include "google/protobuf/empty.pb.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer.h"
#include "quant/quantizer_registry.h"
#include "quant/span_kernels.h"

namespace lowbit {
namespace {

class PowerOfTwo : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const google::protobuf::Empty&) {
    return std::unique_ptr<Quantizer>(new PowerOfTwo);
  }

  StatsRequest stats_request() const override {
    StatsRequest request;
    request.min_max = true;
    return request;
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsEverything(layer, role, bits);
  }

 private:
  // The smallest power of two at which max_abs still has a code.
  static QuantParams Fit(float max_abs, int bits) {
    QuantParams params;
    params.bits = bits;
    params.scale = {std::exp2(std::ceil(std::log2(std::max(max_abs, 1e-5f))) - static_cast<float>(bits - 1))};
    params.zero_point = {0};
    return params;
  }

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    const SpanSummary weight = SummarizeSpan(view.weight.data_ptr<float>(), view.weight.numel());
    const QuantParams params = Fit(std::max(-weight.min, weight.max), view.bits);
    return QuantizedTensor{params, Quantize(view.weight, params)};
  }

  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const override {
    return Fit(std::max(-view.statistics.min(), view.statistics.max()), view.bits);
  }
};

LOWBIT_REGISTER_QUANTIZER("power_of_two", google::protobuf::Empty, PowerOfTwo);

}  // namespace
}  // namespace lowbit
