#include "quant/statistics.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "quant/parallel_for.h"
#include "quant/span_kernels.h"

namespace lowbit {
namespace {

constexpr int kSmallestExponent = -40;

// Memory in which every image is one piece, in any order inside of it.
at::Tensor ImageByImage(const at::Tensor& x) {
  const bool dense = x.is_non_overlapping_and_dense() && (x.size(0) == 1 || x.stride(0) * x.size(0) == x.numel());
  return dense ? x : x.contiguous();
}

}  // namespace

void StatsRequest::Merge(const StatsRequest& other) {
  min_max |= other.min_max;
  moving_average |= other.moving_average;
  mean_abs |= other.mean_abs;
  histogram |= other.histogram;
}

bool StatsRequest::Covers(const StatsRequest& other) const {
  return (min_max || !other.min_max) && (moving_average || !other.moving_average) && (mean_abs || !other.mean_abs) &&
         (histogram || !other.histogram);
}

Histogram::Histogram() : exponent_(kSmallestExponent), counts_(kBins, 0) {}

double Histogram::range() const { return std::ldexp(1.0, exponent_); }

int64_t Histogram::EstimatedZeros() const {
  const size_t zero = kBins / 2;
  return std::max<int64_t>(0, counts_[zero] - std::max(counts_[zero - 1], counts_[zero + 1]));
}

void Histogram::GrowToHold(float abs_max) {
  LOWBIT_CHECK(std::isfinite(abs_max), "no bins for ", abs_max);
  int exponent = 0;
  if (abs_max > 0) std::frexp(abs_max, &exponent);  // abs_max < 2^exponent <= 2 abs_max
  if (abs_max > 0 && exponent > exponent_) GrowTo(exponent);
}

void Histogram::GrowTo(int exponent) {
  // Twice the width: bins 2k and 2k + 1, counted from the bin that starts at 0, become bin k.
  constexpr int kZero = kBins / 2;
  const int shift = std::min(exponent - exponent_, 30);  // by then all is in the two bins around 0
  exponent_ = exponent;
  std::vector<int64_t> grown(kBins, 0);
  for (int i = 0; i < kBins; ++i) {
    const int from_zero = i - kZero;
    const int k = from_zero >= 0 ? from_zero >> shift : -1 - ((-1 - from_zero) >> shift);  // floor
    grown[static_cast<size_t>(kZero + k)] += counts_[static_cast<size_t>(i)];
  }
  counts_ = std::move(grown);
}

void Histogram::Add(const float* values, int64_t size) {
  const double bins_per_unit = 1 / bin_width();  // a power of two, so the product is exact
  int64_t* const zero = counts_.data() + kBins / 2;
  for (int64_t i = 0; i < size; ++i) {
    const double position = static_cast<double>(values[i]) * bins_per_unit;
    const int32_t truncated = static_cast<int32_t>(position);
    ++zero[truncated - (position < truncated ? 1 : 0)];
  }
}

void Histogram::Merge(const Histogram& other) {
  if (other.exponent_ > exponent_) GrowTo(other.exponent_);
  Histogram same_range = other;
  if (exponent_ > other.exponent_) same_range.GrowTo(exponent_);
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += same_range.counts_[i];
}

absl::Status TensorStatistics::Observe(const at::Tensor& x) {
  LOWBIT_CHECK(x.dim() >= 1 && x.scalar_type() == at::kFloat, "statistics are over float32 [N, ...]");
  if (x.numel() == 0) return absl::OkStatus();
  const at::Tensor dense = ImageByImage(x);
  const float* const data = dense.data_ptr<float>();
  const int64_t images = dense.size(0);
  const int64_t image_size = dense.numel() / images;

  std::vector<SpanSummary> summaries(static_cast<size_t>(images));
  ParallelFor(images,
              [&](int64_t n) { summaries[static_cast<size_t>(n)] = SummarizeSpan(data + n * image_size, image_size); });
  int64_t not_finite = 0;
  int64_t first = -1;
  for (int64_t n = 0; n < images; ++n) {
    const int64_t here = summaries[static_cast<size_t>(n)].not_finite;
    if (here > 0 && first < 0) first = n;
    not_finite += here;
  }
  if (not_finite > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(not_finite, " of ", dense.numel(), " values are NaN or infinite (first: image ", first, ")"));
  }
  for (const SpanSummary& summary : summaries) AddImage(summary);
  values_ += dense.numel();
  if (request_.histogram) AddToHistogram(data, images, image_size);
  return absl::OkStatus();
}

void TensorStatistics::AddImage(const SpanSummary& image) {
  min_ = images_ == 0 ? image.min : std::min(min_, image.min);
  max_ = images_ == 0 ? image.max : std::max(max_, image.max);
  decayed_min_ += kMovingWeight * (static_cast<double>(image.min) - decayed_min_);
  decayed_max_ += kMovingWeight * (static_cast<double>(image.max) - decayed_max_);
  sum_abs_ += image.sum_abs;
  ++images_;
}

void TensorStatistics::AddToHistogram(const float* data, int64_t images, int64_t image_size) {
  // Counts are whole numbers: into how many parts the work is cut cannot be seen in them.
  const int64_t parts = std::min<int64_t>(images, 8);
  Histogram empty;
  empty.GrowToHold(std::max(std::fabs(min_), std::fabs(max_)));
  std::vector<Histogram> partial(static_cast<size_t>(parts), empty);
  ParallelFor(parts, [&](int64_t part) {
    Histogram& mine = partial[static_cast<size_t>(part)];
    const int64_t begin = images * part / parts;
    const int64_t end = images * (part + 1) / parts;
    mine.Add(data + begin * image_size, (end - begin) * image_size);
  });
  for (const Histogram& mine : partial) histogram_.Merge(mine);
}

void TensorStatistics::Merge(const TensorStatistics& later) {
  LOWBIT_CHECK(request_.Covers(later.request_) && later.request_.Covers(request_), "statistics of different kinds");
  if (later.images_ == 0) return;
  min_ = images_ == 0 ? later.min_ : std::min(min_, later.min_);
  max_ = images_ == 0 ? later.max_ : std::max(max_, later.max_);
  const double decay = std::pow(1 - kMovingWeight, static_cast<double>(later.images_));
  decayed_min_ = decayed_min_ * decay + later.decayed_min_;
  decayed_max_ = decayed_max_ * decay + later.decayed_max_;
  sum_abs_ += later.sum_abs_;
  images_ += later.images_;
  values_ += later.values_;
  if (request_.histogram) histogram_.Merge(later.histogram_);
}

float TensorStatistics::min() const {
  LOWBIT_CHECK(request_.min_max && images_ > 0, "min and max were not gathered");
  return min_;
}

float TensorStatistics::max() const {
  LOWBIT_CHECK(request_.min_max && images_ > 0, "min and max were not gathered");
  return max_;
}

float TensorStatistics::moving_min() const { return Average(decayed_min_); }

float TensorStatistics::moving_max() const { return Average(decayed_max_); }

float TensorStatistics::Average(double decayed) const {
  LOWBIT_CHECK(request_.moving_average && images_ > 0, "moving averages were not gathered");
  return static_cast<float>(decayed / (1 - std::pow(1 - kMovingWeight, static_cast<double>(images_))));
}

double TensorStatistics::mean_abs() const {
  LOWBIT_CHECK(request_.mean_abs && images_ > 0, "the mean magnitude was not gathered");
  return sum_abs_ / static_cast<double>(values_);
}

const Histogram& TensorStatistics::histogram() const {
  LOWBIT_CHECK(request_.histogram && images_ > 0, "no histogram was gathered");
  return histogram_;
}

}  // namespace lowbit
