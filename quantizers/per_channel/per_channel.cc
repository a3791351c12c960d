// Uniform min-max quantization done right. The formulas are in options.proto.

#include <algorithm>
#include <memory>

#include "absl/status/statusor.h"
#include "quant/quantizer_registry.h"
#include "quant/range_quantizer.h"
#include "quantizers/per_channel/options.pb.h"

namespace lowbit {
namespace {

class PerChannel : public RangeQuantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const PerChannelOptions& options) {
    return std::unique_ptr<Quantizer>(new PerChannel(options));
  }

 private:
  explicit PerChannel(const PerChannelOptions& options)
      : RangeQuantizer(Schemes{options.weight_granularity() == PerChannelOptions::PER_TENSOR,
                               options.weight_scheme() == PerChannelOptions::AFFINE,
                               options.activation_scheme() == PerChannelOptions::AFFINE}),
        moving_(options.activation_range() == PerChannelOptions::MOVING_AVERAGE) {}

  StatsRequest range_request() const override {
    StatsRequest request;
    request.moving_average = moving_;
    return request;
  }

  Range ActivationRange(const TensorStatistics& statistics, const RangeQuery& query) const override {
    if (!moving_) return query.extremes;
    return Range{std::min(statistics.moving_min(), 0.0f), std::max(statistics.moving_max(), 0.0f)};
  }

  const bool moving_;
};

LOWBIT_REGISTER_QUANTIZER("per_channel", PerChannelOptions, PerChannel);

}  // namespace
}  // namespace lowbit
