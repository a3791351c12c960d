// Rounding with compensation of errors, GPTQ. docs/quantizers/gptq.md says more.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "quant/channel_grid.h"
#include "quant/gram_inverse.h"
#include "quant/input_statistics.h"
#include "quant/parallel_for.h"
#include "quant/quantizer_registry.h"
#include "quant/span_kernels.h"
#include "quant/weight_grids.h"
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
void RoundRow(const float* weights, const ChannelGrid& grid, const double* factor, const std::vector<int64_t>& order,
              int32_t* codes) {
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
    if (!(options.damping() >= 0 && options.damping() <= 1000)) {
      return FieldError("damping", absl::StrCat("must be in [0, 1000], got ", options.damping()));
    }
    LOWBIT_ASSIGN_OR_RETURN(const SearchedGrids grids, SearchedGrids::Create(options));
    return std::unique_ptr<Quantizer>(new Gptq(options, grids));
  }

  WeightStatsRequest weight_stats_request() const override {
    WeightStatsRequest request;
    request.moments = true;
    return request;
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsWeightsOnly(layer, role, bits);
  }

 private:
  Gptq(const GptqOptions& options, const SearchedGrids& grids)
      : damping_(options.damping()), act_order_(options.act_order()), grids_(grids) {}

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    QuantParams params = grids_.Of(view.weight, view.bits);
    at::Tensor codes = at::empty(view.weight.sizes(), at::kInt);
    const at::Tensor grams = view.input->Gram();
    const int64_t size = view.input->row_size();
    const int64_t rows = view.weight.size(0) / view.input->groups();  // of a group
    const float* const weights = view.weight.data_ptr<float>();
    int32_t* const out = codes.data_ptr<int32_t>();
    for (int64_t g = 0; g < view.input->groups(); ++g) {
      const std::vector<int64_t> order = Order(grams[g], act_order_);
      const auto factor = InverseGramFactor(Permuted(grams[g], order), damping_);
      if (!factor.ok()) {
        return absl::Status(factor.status().code(),
                            absl::StrCat(view.layer.name, ".weight: ", factor.status().message()));
      }
      const double* const u = factor->data_ptr<double>();
      ParallelFor(rows, [&](int64_t r) {
        const int64_t o = g * rows + r;
        RoundRow(weights + o * size, ChannelGrid(params, static_cast<size_t>(o)), u, order, out + o * size);
      });
    }
    return QuantizedTensor{std::move(params), std::move(codes)};
  }

  const double damping_;
  const bool act_order_;
  const SearchedGrids grids_;
};

LOWBIT_REGISTER_QUANTIZER("gptq", GptqOptions, Gptq);

}  // namespace
}  // namespace lowbit
