#ifndef LOWBIT_QUANT_WEIGHT_GRIDS_H_
#define LOWBIT_QUANT_WEIGHT_GRIDS_H_

#include <ATen/core/Tensor.h>

#include <functional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "quant/quant_params.h"
#include "quant/range_grid.h"
#include "quant/range_options.pb.h"
#include "quant/range_search.h"

namespace lowbit {

// How many weights share a grid, and which.
struct WeightScheme {
  bool per_tensor;  // all weights of the layer; else those of an output channel
  bool affine;      // else symmetric, MakeGrid() says what that is
};

// The range for weights that share one; called from several threads at once.
using FindWeightRange = std::function<Range(absl::Span<const float> weights, const RangeQuery& query)>;

// The uniform grids of a weight, float32 and contiguous, over the ranges that `find_range` chooses.
//
// - One bit, whatever the range: -m and +m, with m the mean magnitude.
// - Where nothing remains of a range ({0, 0}), the extremes stand in for it. Where all weights are 0 the scale is 1.
QuantParams MakeWeightGrids(const at::Tensor& weight, int bits, const WeightScheme& scheme,
                            const FindWeightRange& find_range);

// The grids of plugins that choose the codes by another rule than the nearest one: ranges of the smallest Lp error, as
// those of the quantizer "mse".
class SearchedGrids {
 public:
  // Of an options message with the fields p, candidates, weight_granularity and weight_scheme. Errors name the first
  // two.
  template <class Options>
  static absl::StatusOr<SearchedGrids> Create(const Options& options) {
    LOWBIT_ASSIGN_OR_RETURN(const RangeSearch search, RangeSearch::Create(options.p(), options.candidates()));
    return SearchedGrids(WeightScheme{options.weight_granularity() == RangeOptions::PER_TENSOR,
                                      options.weight_scheme() == RangeOptions::AFFINE},
                         search);
  }

  QuantParams Of(const at::Tensor& weight, int bits) const;

 private:
  SearchedGrids(const WeightScheme& scheme, const RangeSearch& search) : scheme_(scheme), search_(search) {}

  WeightScheme scheme_;
  RangeSearch search_;
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_WEIGHT_GRIDS_H_
