#include "tensorboard/histogram.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lowbit {
namespace {

constexpr int kBuckets = HistogramSummary::kBuckets;

double ValueOf(float x) { return static_cast<double>(x); }
double ValueOf(const CountedValue& x) { return x.value; }
double CountOf(float x) { return std::isfinite(x) ? 1 : 0; }
double CountOf(const CountedValue& x) { return std::isfinite(x.value) ? static_cast<double>(x.count) : 0; }

template <typename T>
HistogramSummary Summarize(absl::Span<const T> values) {
  HistogramSummary summary;
  for (const T& x : values) {
    const double value = ValueOf(x), count = CountOf(x);
    if (count == 0) continue;
    summary.min = summary.count == 0 ? value : std::min(summary.min, value);
    summary.max = summary.count == 0 ? value : std::max(summary.max, value);
    summary.count += count;
    summary.sum += count * value;
    summary.sum_squares += count * value * value;
  }
  if (summary.count == 0) return summary;

  const double buckets_per_unit = kBuckets / (summary.max - summary.min);
  if (!std::isfinite(buckets_per_unit)) {  // all the same, or as good as
    summary.limits = {summary.max};
    summary.counts = {summary.count};
    return summary;
  }
  std::array<double, kBuckets> counts = {};
  for (const T& x : values) {
    const double count = CountOf(x);
    if (count == 0) continue;
    const int bucket = static_cast<int>((ValueOf(x) - summary.min) * buckets_per_unit);
    counts[static_cast<size_t>(std::min(bucket, kBuckets - 1))] += count;
  }
  for (int i = 0; i < kBuckets; ++i) {
    const double limit =
        i + 1 == kBuckets ? summary.max : summary.min + (summary.max - summary.min) * (i + 1) / kBuckets;
    const double count = counts[static_cast<size_t>(i)];
    if (count == 0 && !summary.counts.empty() && summary.counts.back() == 0) {
      summary.limits.back() = limit;
    } else {
      summary.limits.push_back(limit);
      summary.counts.push_back(count);
    }
  }
  return summary;
}

}  // namespace

HistogramSummary SummarizeValues(absl::Span<const float> values) { return Summarize(values); }

HistogramSummary SummarizeCounts(absl::Span<const CountedValue> values) { return Summarize(values); }

}  // namespace lowbit
