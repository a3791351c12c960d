// Entropy calibration. docs/quantizers/kl.md says more.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "quant/affine.h"
#include "quant/quantizer_registry.h"
#include "quant/range_quantizer.h"
#include "quantizers/kl/options.pb.h"

namespace lowbit {
namespace {

constexpr int kZero = Histogram::kBins / 2;

// A bin that is not empty.
struct Bin {
  int index;
  double count;
};

std::vector<Bin> FilledBins(const Histogram& histogram) {
  std::vector<Bin> bins;
  for (int i = 0; i < Histogram::kBins; ++i) {
    const int64_t count = histogram.counts()[static_cast<size_t>(i)] - (i == kZero ? histogram.EstimatedZeros() : 0);
    if (count > 0) bins.push_back(Bin{i, static_cast<double>(count)});
  }
  return bins;
}

// How far bin i's outer edge is from 0, in bins.
int Reach(int i) { return i >= kZero ? i - kZero + 1 : kZero - i; }

// The thresholds to try, in bins, from the widest on: those at which a bin is filled and which have at least one bin
// for each code (with fewer, nothing would be evened out), and the smallest such, filled or not.
std::vector<int> Reaches(const std::vector<Bin>& bins, const RangeQuery& query) {
  const int64_t sides = IsOneSided(query.extremes) ? 1 : 2;
  const int64_t least = (int64_t{1} << query.bits) / sides;
  std::vector<int> reaches;
  for (const Bin& bin : bins) {
    if (Reach(bin.index) >= least) reaches.push_back(Reach(bin.index));
  }
  // (Not below all values: what is inside must be something.)
  const bool inside = std::any_of(bins.begin(), bins.end(), [&](const Bin& bin) { return Reach(bin.index) <= least; });
  if (inside && !reaches.empty()) reaches.push_back(static_cast<int>(least));
  std::sort(reaches.rbegin(), reaches.rend());
  reaches.erase(std::unique(reaches.begin(), reaches.end()), reaches.end());
  return reaches;
}

// Sum of P ln(P / Q) over the bins [begin, end) of the `bins`, whose middles `grid` rounds to its codes.
double Divergence(const std::vector<Bin>& bins, size_t begin, size_t end, const Histogram& histogram,
                  const Grid& grid) {
  double below = 0;
  double inside = 0;
  double above = 0;
  for (size_t i = 0; i < bins.size(); ++i) (i < begin ? below : i < end ? inside : above) += bins[i].count;
  const double all = below + inside + above;
  const auto code = [&](size_t i) {
    const double middle = histogram.bin_lower(bins[i].index) + histogram.bin_width() / 2;
    return QuantizeValue(static_cast<float>(middle), grid.scale, grid.zero_point, grid.qmin, grid.qmax);
  };
  double divergence = 0;
  size_t first = begin;
  while (first < end) {  // the bins [first, last) share a code
    const int32_t shared = code(first);
    double sum = 0;
    size_t last = first;
    for (; last < end && code(last) == shared; ++last) sum += bins[last].count;
    const double q = sum / static_cast<double>(last - first) / inside;
    for (size_t i = first; i < last; ++i) {
      const double p = (bins[i].count + (i == begin ? below : 0) + (i + 1 == end ? above : 0)) / all;
      divergence += p * std::log(p / q);
    }
    first = last;
  }
  return divergence;
}

class Kl : public RangeQuantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const KlOptions& options) {
    return std::unique_ptr<Quantizer>(new Kl(options));
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    LOWBIT_RETURN_IF_ERROR(SupportsEverything(layer, role, bits));
    if (role == Role::kWeight) {
      return FieldError("name", absl::StrCat("chooses ranges of activations only, and this is the weight of ",
                                             layer.name, "; mse or percentile serve weights"));
    }
    return absl::OkStatus();
  }

 private:
  explicit Kl(const KlOptions& options)
      : RangeQuantizer(Schemes{false, false, options.activation_scheme() == RangeOptions::AFFINE}) {}

  StatsRequest range_request() const override {
    StatsRequest request;
    request.histogram = true;
    return request;
  }

  Range ActivationRange(const TensorStatistics& statistics, const RangeQuery& query) const override {
    const Histogram& histogram = statistics.histogram();
    const std::vector<Bin> bins = FilledBins(histogram);
    Range best = query.extremes;
    double smallest = std::numeric_limits<double>::infinity();
    size_t begin = 0;
    size_t end = bins.size();
    for (const int reach : Reaches(bins, query)) {
      while (begin < end && Reach(bins[begin].index) > reach) ++begin;
      while (end > begin && Reach(bins[end - 1].index) > reach) --end;
      const double t = reach * histogram.bin_width();
      const Range candidate = Clipped(-t, t, query.extremes);
      const double divergence =
          Divergence(bins, begin, end, histogram, MakeGrid(candidate, query.symmetric, query.bits));
      if (divergence < smallest) {
        smallest = divergence;
        best = candidate;
      }
    }
    return best;
  }
};

LOWBIT_REGISTER_QUANTIZER("kl", KlOptions, Kl);

}  // namespace
}  // namespace lowbit
