#ifndef LOWBIT_QUANT_COMPENSATED_ROUNDING_H_
#define LOWBIT_QUANT_COMPENSATED_ROUNDING_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "quant/channel_grid.h"
#include "quant/quantizer.h"
#include "quant/weight_grids.h"

namespace lowbit {

// Rounds the K weights of one output to codes of `grid`, and says whether the arithmetic was exact enough for that.
// Called from several threads at once.
using RoundRow = std::function<bool(const float* weights, const ChannelGrid& grid, int32_t* codes)>;

// Makes one for the outputs of one group: of the Gram matrix of what the group reads, float64 [K, K], and a damping as
// that of InverseGramFactor, whose errors it may return.
using PrepareGroup = std::function<absl::StatusOr<RoundRow>(const at::Tensor& gram, double damping)>;

// What plugins share that round the weights of each output one after the other, and make up for what each is off by
// with those that are left: the grids, the damping, and the loop over groups and outputs.
class CompensatedRounding {
 public:
  // Of an options message with the fields damping, p, candidates, weight_granularity and weight_scheme. FieldError at
  // "damping", which must be in [0, 1000], and as those of SearchedGrids.
  template <class Options>
  static absl::StatusOr<CompensatedRounding> Create(const Options& options) {
    LOWBIT_RETURN_IF_ERROR(CheckDamping(options.damping()));
    LOWBIT_ASSIGN_OR_RETURN(const SearchedGrids grids, SearchedGrids::Create(options));
    return CompensatedRounding(options.damping(), grids);
  }

  // The weight of `view`, whose `input` must have seen an image. Where a row says that its arithmetic was not exact
  // enough, all rows of its group are rounded again with the damping raised tenfold, as often as it takes. Errors of
  // `prepare` come out with the weight's name.
  absl::StatusOr<QuantizedTensor> Quantize(const WeightView& view, const PrepareGroup& prepare) const;

 private:
  CompensatedRounding(double damping, const SearchedGrids& grids) : damping_(damping), grids_(grids) {}

  static absl::Status CheckDamping(double damping);

  double damping_;
  SearchedGrids grids_;
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_COMPENSATED_ROUNDING_H_
