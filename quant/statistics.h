#ifndef LOWBIT_QUANT_STATISTICS_H_
#define LOWBIT_QUANT_STATISTICS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "quant/span_kernels.h"

namespace lowbit {

// What somebody must know of a tensor. Requests are merged, so that one pass over the data serves everybody.
struct StatsRequest {
  bool min_max = false;         // min(), max()
  bool moving_average = false;  // moving_min(), moving_max()
  bool mean_abs = false;        // mean_abs()
  bool histogram = false;       // histogram()

  void Merge(const StatsRequest& other);
  bool empty() const { return !min_max && !moving_average && !mean_abs && !histogram; }
  // Whether `other` asks for nothing that this does not.
  bool Covers(const StatsRequest& other) const;
};

// Counts of values in equal bins over [-range, range). The range is the smallest power of two above every |x| seen (at
// least 2^-40); it grows by merging pairs of bins, which puts every value just where it would lie had the final range
// been known from the start. So the counts depend on the values alone, not on their order or on how they were split in
// batches.
class Histogram {
 public:
  static constexpr int kBins = 4096;

  Histogram();

  // Half the covered width, 2^exponent().
  double range() const;
  int exponent() const { return exponent_; }
  double bin_width() const { return 2 * range() / kBins; }
  // Bin i covers [bin_lower(i), bin_lower(i + 1)); bin kBins / 2 starts at 0.
  double bin_lower(int i) const { return (i - kBins / 2) * bin_width(); }
  const std::vector<int64_t>& counts() const { return counts_; }
  // How many values are exactly 0 (half of them after a ReLU), as far as bins can tell: by how much the bin that starts
  // at 0 is fuller than the fuller one of its neighbours.
  int64_t EstimatedZeros() const;

  // Makes room for values of this magnitude, if there is none yet.
  void GrowToHold(float abs_max);
  // Finite values with |x| < range().
  void Add(const float* values, int64_t size);
  void Merge(const Histogram& other);

 private:
  void GrowTo(int exponent);

  int exponent_;
  std::vector<int64_t> counts_;
};

// Streaming statistics of one tensor of the network over many images, in memory that does not depend on how many. They
// do not depend on the batch size or the number of threads. Statistics over consecutive parts of the data merge to
// those over the whole (sums and moving averages up to rounding in float64).
class TensorStatistics {
 public:
  // Weight of the newest image in the moving averages; the average reaches over some 1 / kMovingWeight images.
  static constexpr double kMovingWeight = 0.01;

  explicit TensorStatistics(StatsRequest request) : request_(request) {}

  // x: float32 [N, ...], image n at index n. InvalidArgument, with nothing taken over, if values are NaN or infinite:
  // `3 of 16384 values are NaN or infinite (first: image 2)`.
  absl::Status Observe(const at::Tensor& x);

  // Adds what `later` saw, as if its images had been observed after ours. Both must have the same request.
  void Merge(const TensorStatistics& later);

  const StatsRequest& request() const { return request_; }
  int64_t images() const { return images_; }
  int64_t values() const { return values_; }

  // The following need a value (images() > 0) and the request that names them; else they end the process.

  // Extremes over everything.
  float min() const;
  float max() const;

  // Exponential moving averages of each image's extremes, in the order of the images: s <- s + kMovingWeight (x - s),
  // freed of the start value's weight (divided by 1 - (1 - kMovingWeight)^images).
  float moving_min() const;
  float moving_max() const;

  // Mean of |x|.
  double mean_abs() const;

  const Histogram& histogram() const;

 private:
  void AddImage(const SpanSummary& image);
  void AddToHistogram(const float* data, int64_t images, int64_t image_size);
  float Average(double decayed) const;

  StatsRequest request_;
  int64_t images_ = 0;
  int64_t values_ = 0;
  float min_ = 0;
  float max_ = 0;
  double decayed_min_ = 0;  // sum over images of kMovingWeight (1 - kMovingWeight)^(images since) * minimum
  double decayed_max_ = 0;
  double sum_abs_ = 0;
  Histogram histogram_;
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_STATISTICS_H_
