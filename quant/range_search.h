#ifndef LOWBIT_QUANT_RANGE_SEARCH_H_
#define LOWBIT_QUANT_RANGE_SEARCH_H_

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "quant/range_grid.h"
#include "quant/statistics.h"

namespace lowbit {

// Search for the range of the smallest Lp error: of a number of ranges the one after whose quantization the mean of
// |x - x'|^p is smallest, of equals the first. With lo and hi of the query's extremes they are
//
//   t * [lo, hi] for t = 1, 1 - 1/candidates, ..., 1/candidates
//
// and, where the grid is affine and there are values of both signs, each end by itself over the same fractions, in
// turn, until neither helps. docs/quantizers/mse.md says more.
class RangeSearch {
 public:
  // FieldError at "p" or "candidates": p must be in [1, 10], candidates in [2, 10000].
  static absl::StatusOr<RangeSearch> Create(double p, int candidates);

  // By the error of the weights themselves, and by that of what the histogram counts.
  Range OfWeights(absl::Span<const float> weights, const RangeQuery& query) const;
  Range OfActivation(const TensorStatistics& statistics, const RangeQuery& query) const;

 private:
  RangeSearch(double p, int candidates) : p_(p), candidates_(candidates) {}

  template <typename Error>
  Range Search(const RangeQuery& query, const Error& error) const;

  double p_;
  int candidates_;
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_RANGE_SEARCH_H_
