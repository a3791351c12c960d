#ifndef LOWBIT_TENSORBOARD_HISTOGRAM_H_
#define LOWBIT_TENSORBOARD_HISTOGRAM_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace lowbit {

// Many numbers, for a picture of how they are spread. The buckets are of equal width from the smallest number to the
// largest, as in TensorBoard's own `tf.summary.histogram`, and twice as many: what it draws is cut anew into 30.
struct HistogramSummary {
  static constexpr int kBuckets = 60;

  double min = 0;
  double max = 0;
  double count = 0;
  double sum = 0;
  double sum_squares = 0;
  // Bucket i holds counts[i] numbers in [limits[i - 1], limits[i]); the first one begins at min, and the last one holds
  // max too. Neighbours without a number are one bucket, so there are at most kBuckets. Numbers that are all the same
  // are one bucket without width; no numbers are no bucket.
  std::vector<double> limits;
  std::vector<double> counts;
};

// Numbers that are NaN or infinite are left out.
HistogramSummary SummarizeValues(absl::Span<const float> values);

// So many times a number.
struct CountedValue {
  double value = 0;
  int64_t count = 0;
};
HistogramSummary SummarizeCounts(absl::Span<const CountedValue> values);

}  // namespace lowbit

#endif  // LOWBIT_TENSORBOARD_HISTOGRAM_H_
