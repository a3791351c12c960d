// Clips a given share of the values. docs/quantizers/percentile.md says more.

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "quant/quantizer_registry.h"
#include "quant/range_quantizer.h"
#include "quantizers/percentile/options.pb.h"

namespace lowbit {
namespace {

// Of sorted values: position share * (n - 1), between neighbours if that is not whole.
double Quantile(const std::vector<float>& sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = position - static_cast<double>(below);
  return sorted[below] + part * (static_cast<double>(sorted[above]) - sorted[below]);
}

// The bin in which the running count reaches share * all, and the part of it that is needed to get there; in bins from
// the first bin's lower end.
double QuantileInBins(const std::vector<int64_t>& counts, double share) {
  double all = 0;
  for (const int64_t count : counts) all += static_cast<double>(count);
  const double wanted = share * all;
  double below = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double count = static_cast<double>(counts[i]);
    if (count > 0 && below + count >= wanted) return static_cast<double>(i) + (wanted - below) / count;
    below += count;
  }
  return static_cast<double>(counts.size());
}

// The counts of |x|.
std::vector<int64_t> Folded(const std::vector<int64_t>& counts) {
  const size_t half = counts.size() / 2;
  std::vector<int64_t> folded(half);
  for (size_t i = 0; i < half; ++i) folded[i] = counts[half + i] + counts[half - 1 - i];
  return folded;
}

class Percentile : public RangeQuantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const PercentileOptions& options) {
    if (!(options.percentile() > 50 && options.percentile() <= 100)) {
      return FieldError("percentile", absl::StrCat("must be in (50, 100], got ", options.percentile()));
    }
    return std::unique_ptr<Quantizer>(new Percentile(options));
  }

 private:
  explicit Percentile(const PercentileOptions& options)
      : RangeQuantizer(SchemesOf(options)), share_(options.percentile() / 100) {}

  StatsRequest range_request() const override {
    StatsRequest request;
    request.histogram = true;
    return request;
  }

  Range WeightRange(absl::Span<const float> weights, const RangeQuery& query) const override {
    std::vector<float> values(weights.begin(), weights.end());
    if (query.symmetric) {
      for (float& x : values) x = std::fabs(x);
    }
    std::sort(values.begin(), values.end());
    const double hi = Quantile(values, share_);
    return Clipped(query.symmetric ? -hi : Quantile(values, 1 - share_), hi, query.extremes);
  }

  Range ActivationRange(const TensorStatistics& statistics, const RangeQuery& query) const override {
    const Histogram& histogram = statistics.histogram();
    if (query.symmetric) {
      const double a = QuantileInBins(Folded(histogram.counts()), share_) * histogram.bin_width();
      return Clipped(-a, a, query.extremes);
    }
    const double lo = QuantileInBins(histogram.counts(), 1 - share_) * histogram.bin_width() - histogram.range();
    const double hi = QuantileInBins(histogram.counts(), share_) * histogram.bin_width() - histogram.range();
    return Clipped(lo, hi, query.extremes);
  }

  const double share_;
};

LOWBIT_REGISTER_QUANTIZER("percentile", PercentileOptions, Percentile);

}  // namespace
}  // namespace lowbit
