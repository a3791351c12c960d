// Moving averages of each image's extremes. docs/quantizers/moving_average.md says more.

#include <algorithm>
#include <memory>

#include "absl/status/statusor.h"
#include "quant/quantizer_registry.h"
#include "quant/range_quantizer.h"
#include "quantizers/moving_average/options.pb.h"

namespace lowbit {
namespace {

class MovingAverage : public RangeQuantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const MovingAverageOptions& options) {
    return std::unique_ptr<Quantizer>(new MovingAverage(options));
  }

 private:
  explicit MovingAverage(const MovingAverageOptions& options) : RangeQuantizer(SchemesOf(options)) {}

  StatsRequest range_request() const override {
    StatsRequest request;
    request.moving_average = true;
    return request;
  }

  Range ActivationRange(const TensorStatistics& statistics, const RangeQuery&) const override {
    return Range{std::min(statistics.moving_min(), 0.0f), std::max(statistics.moving_max(), 0.0f)};
  }
};

LOWBIT_REGISTER_QUANTIZER("moving_average", MovingAverageOptions, MovingAverage);

}  // namespace
}  // namespace lowbit
