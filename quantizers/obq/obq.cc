// Greedy rounding with compensation of errors, OBQ. docs/quantizers/obq.md says more.

#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "quant/channel_grid.h"
#include "quant/compensated_rounding.h"
#include "quant/gram_inverse.h"
#include "quant/quantizer_registry.h"
#include "quant/span_kernels.h"
#include "quantizers/obq/options.pb.h"

namespace lowbit {
namespace {

// Of a pivot, as a share of what it was at the beginning, this much has to be left: less is made of rounding errors.
constexpr double kPivotShare = 1e-12;

// The weights of one output that are left, and the inverse H of their Gram matrix: of which only the lower triangle is
// held, row by row without gaps, so that what is left stays together in memory.
class RowRounder {
 public:
  // `inverse`: H of all K inputs, [K, K].
  RowRounder(const float* weights, const double* inverse, int64_t size)
      : left_(size),
        w_(weights, weights + size),
        smallest_(static_cast<size_t>(size)),
        index_(static_cast<size_t>(size)),
        column_(static_cast<size_t>(size)) {
    std::iota(index_.begin(), index_.end(), int64_t{0});
    h_.reserve(static_cast<size_t>(size * (size + 1) / 2));
    for (int64_t i = 0; i < size; ++i) {
      h_.insert(h_.end(), inverse + i * size, inverse + i * size + i + 1);
      smallest_[static_cast<size_t>(i)] = kPivotShare * h_.back();
    }
  }

  // False if pivots were lost to rounding errors: the codes then mean nothing.
  bool Round(const ChannelGrid& grid, int32_t* codes) {
    while (left_ > 0) {
      if (!PivotsAreLeft()) return false;
      const int64_t j = Choose(grid);
      const double w = w_[static_cast<size_t>(j)];
      const int32_t code = grid.Quantize(static_cast<float>(w));
      codes[index_[static_cast<size_t>(j)]] = code;
      CopyColumn(j);
      const double pivot = column_[static_cast<size_t>(j)];
      // w -= H_:j (w_j - q_j) / H_jj
      SubtractMultiple((w - static_cast<double>(grid.Dequantize(code))) / pivot, column_.data(), w_.data(), left_);
      MoveLastTo(j);
      // H -= H_:j H_j: / H_jj
      for (int64_t i = 0; i < left_; ++i) {
        SubtractMultiple(column_[static_cast<size_t>(i)] / pivot, column_.data(), Row(i), i + 1);
      }
    }
    return true;
  }

 private:
  double* Row(int64_t i) { return h_.data() + i * (i + 1) / 2; }

  // Each H_jj > 0 by more than rounding errors.
  bool PivotsAreLeft() {
    for (int64_t i = 0; i < left_; ++i) {
      if (!(Row(i)[i] > smallest_[static_cast<size_t>(i)])) return false;
    }
    return true;
  }

  // The one that costs least: argmin (w_j - q_j)^2 / H_jj. But one that is off by more than half a step lies outside of
  // the grid. That cannot be helped, so the furthest is dealt with first, while many are left to make up for it.
  int64_t Choose(const ChannelGrid& grid) {
    const double half_step = 0.5 * static_cast<double>(grid.scale()) * (1 + 1e-6);
    int64_t cheapest = 0, furthest = 0;
    double least = HUGE_VAL, most = half_step;
    for (int64_t i = 0; i < left_; ++i) {
      const double w = w_[static_cast<size_t>(i)];
      const double error = std::fabs(w - static_cast<double>(grid.FakeQuantize(static_cast<float>(w))));
      const double cost = error * error / Row(i)[i];
      if (cost < least) {
        least = cost;
        cheapest = i;
      }
      if (error > most) {
        most = error;
        furthest = i;
      }
    }
    return most > half_step ? furthest : cheapest;
  }

  // H_:j into column_.
  void CopyColumn(int64_t j) {
    const double* const row = Row(j);
    std::copy(row, row + j + 1, column_.begin());
    for (int64_t i = j + 1; i < left_; ++i) column_[static_cast<size_t>(i)] = Row(i)[j];
  }

  // Takes weight j out: the last one takes its place, in the triangle too.
  void MoveLastTo(int64_t j) {
    const int64_t last = --left_;
    if (j == last) return;
    const double* const from = Row(last);
    std::copy(from, from + j, Row(j));
    Row(j)[j] = from[last];
    for (int64_t i = j + 1; i < last; ++i) Row(i)[j] = from[i];
    w_[static_cast<size_t>(j)] = w_[static_cast<size_t>(last)];
    smallest_[static_cast<size_t>(j)] = smallest_[static_cast<size_t>(last)];
    index_[static_cast<size_t>(j)] = index_[static_cast<size_t>(last)];
    column_[static_cast<size_t>(j)] = column_[static_cast<size_t>(last)];
  }

  int64_t left_;
  std::vector<double> w_;
  std::vector<double> smallest_;  // that H_jj may become
  std::vector<int64_t> index_;    // of the inputs
  std::vector<double> column_;
  std::vector<double> h_;
};

class Obq : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const ObqOptions& options) {
    LOWBIT_ASSIGN_OR_RETURN(const CompensatedRounding rounding, CompensatedRounding::Create(options));
    return std::unique_ptr<Quantizer>(new Obq(rounding));
  }

  WeightStatsRequest weight_stats_request() const override {
    WeightStatsRequest request;
    request.moments = true;
    return request;
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsWeightsOnly(layer, role, bits);
  }

  bool rounds_to_nearest() const override { return false; }

 private:
  explicit Obq(const CompensatedRounding& rounding) : rounding_(rounding) {}

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    return rounding_.Quantize(view, [](const at::Tensor& gram, double damping) -> absl::StatusOr<RoundRow> {
      LOWBIT_ASSIGN_OR_RETURN(const at::Tensor factor, InverseGramFactor(gram, damping));
      at::Tensor inverse = at::mm(factor.t(), factor).contiguous();
      return [inverse = std::move(inverse)](const float* weights, const ChannelGrid& grid, int32_t* codes) {
        return RowRounder(weights, inverse.data_ptr<double>(), inverse.size(0)).Round(grid, codes);
      };
    });
  }

  const CompensatedRounding rounding_;
};

LOWBIT_REGISTER_QUANTIZER("obq", ObqOptions, Obq);

}  // namespace
}  // namespace lowbit
