#ifndef LOWBIT_QUANT_RANGE_QUANTIZER_H_
#define LOWBIT_QUANT_RANGE_QUANTIZER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "quant/quantizer.h"
#include "quant/range_grid.h"
#include "quant/range_options.pb.h"
#include "quant/statistics.h"

namespace lowbit {

// What all quantizers share that choose a range and round to the nearest code of a uniform grid over it: groups of
// weights, grids, one-sided activations, one bit, tensors of zeros. A method is a subclass that says which range:
//
//   class Percentile : public RangeQuantizer {
//    public:
//     static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const PercentileOptions& options);
//    private:
//     explicit Percentile(const PercentileOptions& options) : RangeQuantizer(SchemesOf(options)), ... {}
//     StatsRequest range_request() const override;
//     Range WeightRange(absl::Span<const float> weights, const RangeQuery& query) const override;
//     Range ActivationRange(const TensorStatistics& statistics, const RangeQuery& query) const override;
//   };
//
// - A symmetric weight has signed codes and zero point 0 whatever its signs. A symmetric activation has them if the
//   chosen range has two sides; else the codes of its side of 0.
// - One bit, whatever the range: -m and +m, with m the mean magnitude. The sign of a one-sided activation says
//   nothing: it gets 0 and 2 m (0 and -2 m), the same step on its side of 0.
// - Where nothing remains of a range ({0, 0}, if 99.99 % of a tensor are 0), the extremes stand in for it.
class RangeQuantizer : public Quantizer {
 public:
  struct Schemes {
    bool per_tensor_weights;
    bool affine_weights;
    bool affine_activations;
  };

  StatsRequest stats_request() const final;

  // Everything, unless a method knows better.
  absl::Status Supports(const Layer& layer, Role role, int bits) const override;

 protected:
  explicit RangeQuantizer(const Schemes& schemes) : schemes_(schemes) {}

  // Of an options message with the fields that quant/range_options.proto lists.
  template <class Options>
  static Schemes SchemesOf(const Options& options) {
    return Schemes{options.weight_granularity() == RangeOptions::PER_TENSOR,
                   options.weight_scheme() == RangeOptions::AFFINE,
                   options.activation_scheme() == RangeOptions::AFFINE};
  }

 private:
  // What ActivationRange wants to know beyond min_max and mean_abs, which are always there.
  virtual StatsRequest range_request() const { return StatsRequest(); }

  // The range for weights that share one (a channel, or all), called from several threads at once; and the range for an
  // activation. lo <= 0 <= hi. By default the extremes.
  virtual Range WeightRange(absl::Span<const float> weights, const RangeQuery& query) const;
  virtual Range ActivationRange(const TensorStatistics& statistics, const RangeQuery& query) const;

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const final;
  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const final;

  const Schemes schemes_;
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_RANGE_QUANTIZER_H_
