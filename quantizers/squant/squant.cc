// Rounding whose errors cancel, without data: SQuant. docs/quantizers/squant.md says more.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

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
#include "quant/parallel_for.h"
#include "quant/quantizer_registry.h"
#include "quant/weight_grids.h"
#include "quantizers/squant/options.pb.h"

namespace lowbit {
namespace {

// How many of `most` flips a sum of errors asks for: each changes it by one step.
int64_t Flips(double sum, int64_t most) {
  return static_cast<int64_t>(std::min(std::nearbyint(std::fabs(sum)), static_cast<double>(most)));
}

// The weights of one output.
class RowRounder {
 public:
  RowRounder(const float* weights, int64_t size, int64_t kernel_size, const ChannelGrid& grid, int32_t* codes)
      : weights_(weights), size_(size), kernel_size_(kernel_size), grid_(grid), codes_(codes) {}

  void Round() {
    for (int64_t i = 0; i < size_; ++i) codes_[i] = grid_.Quantize(weights_[i]);
    std::vector<double> sums;
    for (int64_t begin = 0; begin < size_; begin += kernel_size_) sums.push_back(RoundKernel(begin));
    Balance(std::move(sums));
  }

 private:
  // By how many steps the code of weight i is too high.
  double Error(int64_t i) const {
    return (static_cast<double>(grid_.Dequantize(codes_[i])) - static_cast<double>(weights_[i])) /
           static_cast<double>(grid_.scale());
  }

  // Whether weight i can go to the next code against errors of this sign.
  bool CanFlip(int64_t i, double sum) const {
    return Error(i) * sum > 0 && (sum > 0 ? codes_[i] > grid_.qmin() : codes_[i] < grid_.qmax());
  }

  void Flip(int64_t i, double sum) { codes_[i] += sum > 0 ? -1 : 1; }

  double Sum(int64_t begin, int64_t count) const {
    double sum = 0;
    for (int64_t i = begin; i < begin + count; ++i) sum += Error(i);
    return sum;
  }

  // Those weights of a kernel that can go against errors of this sign, the ones with the largest errors first.
  std::vector<int64_t> Candidates(int64_t begin, double sum) const {
    std::vector<int64_t> candidates;
    for (int64_t i = begin; i < begin + kernel_size_; ++i) {
      if (CanFlip(i, sum)) candidates.push_back(i);
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](int64_t a, int64_t b) { return std::fabs(Error(a)) > std::fabs(Error(b)); });
    return candidates;
  }

  // Returns the sum of errors that is left.
  double RoundKernel(int64_t begin) {
    const double sum = Sum(begin, kernel_size_);
    const std::vector<int64_t> candidates = Candidates(begin, sum);
    const int64_t flips = Flips(sum, static_cast<int64_t>(candidates.size()));
    for (int64_t k = 0; k < flips; ++k) Flip(candidates[static_cast<size_t>(k)], sum);
    return Sum(begin, kernel_size_);
  }

  // The same between the kernels, of these sums.
  void Balance(std::vector<double> sums) {
    const double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
    std::vector<size_t> kernels(sums.size());
    std::iota(kernels.begin(), kernels.end(), size_t{0});
    const double sign = sum > 0 ? 1 : -1;
    std::stable_sort(kernels.begin(), kernels.end(),
                     [&](size_t a, size_t b) { return sign * sums[a] > sign * sums[b]; });
    int64_t flips = Flips(sum, static_cast<int64_t>(kernels.size()));
    for (const size_t kernel : kernels) {
      if (flips == 0) return;
      const std::vector<int64_t> candidates = Candidates(static_cast<int64_t>(kernel) * kernel_size_, sum);
      if (candidates.empty()) continue;
      Flip(candidates.front(), sum);
      --flips;
    }
  }

  const float* const weights_;
  const int64_t size_;
  const int64_t kernel_size_;
  const ChannelGrid grid_;
  int32_t* const codes_;
};

class Squant : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const SquantOptions& options) {
    LOWBIT_ASSIGN_OR_RETURN(const SearchedGrids grids, SearchedGrids::Create(options));
    return std::unique_ptr<Quantizer>(new Squant(grids));
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsWeightsOnly(layer, role, bits);
  }

  bool rounds_to_nearest() const override { return false; }

 private:
  explicit Squant(const SearchedGrids& grids) : grids_(grids) {}

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    QuantParams params = grids_.Of(view.weight, view.bits);
    at::Tensor codes = at::empty(view.weight.sizes(), at::kInt);
    const int64_t size = view.weight.numel() / view.weight.size(0);
    const int64_t kernel_size = view.weight.dim() == 4 ? view.weight.size(2) * view.weight.size(3) : 1;
    const float* const weights = view.weight.data_ptr<float>();
    int32_t* const out = codes.data_ptr<int32_t>();
    ParallelFor(view.weight.size(0), [&](int64_t o) {
      RowRounder(weights + o * size, size, kernel_size, ChannelGrid(params, static_cast<size_t>(o)), out + o * size)
          .Round();
    });
    return QuantizedTensor{std::move(params), std::move(codes)};
  }

  const SearchedGrids grids_;
};

LOWBIT_REGISTER_QUANTIZER("squant", SquantOptions, Squant);

}  // namespace
}  // namespace lowbit
