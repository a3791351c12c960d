// Search for the range of the smallest Lp error. docs/quantizers/mse.md says more.

#include <memory>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "quant/quantizer_registry.h"
#include "quant/range_quantizer.h"
#include "quant/range_search.h"
#include "quantizers/mse/options.pb.h"

namespace lowbit {
namespace {

class Mse : public RangeQuantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const MseOptions& options) {
    LOWBIT_ASSIGN_OR_RETURN(const RangeSearch search, RangeSearch::Create(options.p(), options.candidates()));
    return std::unique_ptr<Quantizer>(new Mse(options, search));
  }

 private:
  Mse(const MseOptions& options, const RangeSearch& search) : RangeQuantizer(SchemesOf(options)), search_(search) {}

  StatsRequest range_request() const override {
    StatsRequest request;
    request.histogram = true;
    return request;
  }

  Range WeightRange(absl::Span<const float> weights, const RangeQuery& query) const override {
    return search_.OfWeights(weights, query);
  }

  Range ActivationRange(const TensorStatistics& statistics, const RangeQuery& query) const override {
    return search_.OfActivation(statistics, query);
  }

  const RangeSearch search_;
};

LOWBIT_REGISTER_QUANTIZER("mse", MseOptions, Mse);

}  // namespace
}  // namespace lowbit
