// Rounding with compensation of errors, GPTQ. docs/quantizers/gptq.md says more.

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
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
#include "quantizers/gptq/options.pb.h"

namespace lowbit {
namespace {

// The inputs in the order in which they are rounded: by the diagonal of `gram`, the largest first; of equals the first.
std::vector<int64_t> Order(const at::Tensor& gram, bool by_diagonal) {
  std::vector<int64_t> order(static_cast<size_t>(gram.size(0)));
  std::iota(order.begin(), order.end(), int64_t{0});
  if (!by_diagonal) return order;
  const at::Tensor diagonal = gram.diagonal().contiguous();
  const double* const squares = diagonal.data_ptr<double>();
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return squares[a] > squares[b]; });
  return order;
}

// Rows and columns of a symmetric matrix in another order.
at::Tensor Permuted(const at::Tensor& matrix, const std::vector<int64_t>& order) {
  const at::Tensor index = at::tensor(order, at::kLong);
  return matrix.index_select(0, index).index_select(1, index);
}

// Rounds the weights of one output. `factor` is U, [K, K] row by row, for inputs in that order.
void RoundWeights(const float* weights, const ChannelGrid& grid, const double* factor,
                  const std::vector<int64_t>& order, int32_t* codes) {
  const int64_t size = static_cast<int64_t>(order.size());
  std::vector<double> w(order.size());
  for (size_t i = 0; i < order.size(); ++i) w[i] = static_cast<double>(weights[order[i]]);
  for (int64_t i = 0; i < size; ++i) {
    const double x = w[static_cast<size_t>(i)];
    const int32_t code = grid.Quantize(static_cast<float>(x));
    codes[order[static_cast<size_t>(i)]] = code;
    // e = (w_i - q_i) / U_ii,  w_j -= e U_ij for j > i
    const double* const row = factor + i * size;
    const double e = (x - static_cast<double>(grid.Dequantize(code))) / row[i];
    SubtractMultiple(e, row + i + 1, w.data() + i + 1, size - i - 1);
  }
}

class Gptq : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const GptqOptions& options) {
    LOWBIT_ASSIGN_OR_RETURN(const CompensatedRounding rounding, CompensatedRounding::Create(options));
    return std::unique_ptr<Quantizer>(new Gptq(options, rounding));
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
  Gptq(const GptqOptions& options, const CompensatedRounding& rounding)
      : act_order_(options.act_order()), rounding_(rounding) {}

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    return rounding_.Quantize(view, [this](const at::Tensor& gram, double damping) -> absl::StatusOr<RoundRow> {
      std::vector<int64_t> order = Order(gram, act_order_);
      LOWBIT_ASSIGN_OR_RETURN(at::Tensor factor, InverseGramFactor(Permuted(gram, order), damping));
      return [order = std::move(order), factor = std::move(factor)](const float* weights, const ChannelGrid& grid,
                                                                    int32_t* codes) {
        RoundWeights(weights, grid, factor.data_ptr<double>(), order, codes);
        return true;
      };
    });
  }

  const bool act_order_;
  const CompensatedRounding rounding_;
};

LOWBIT_REGISTER_QUANTIZER("gptq", GptqOptions, Gptq);

}  // namespace
}  // namespace lowbit
