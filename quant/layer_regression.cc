#include "quant/layer_regression.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "quant/gram_inverse.h"
#include "quant/input_rows.h"

namespace lowbit {
namespace {

// Images whose rows are multiplied at a time.
constexpr int64_t kChunk = 64;

at::Tensor Outer(const at::Tensor& a, const at::Tensor& b) { return at::matmul(a.unsqueeze(2), b.unsqueeze(1)); }

}  // namespace

LayerRegression::LayerRegression(const Op& op) : op_(op), has_bias_(ParameterShapes(op).count("bias") > 0), input_(op) {
  const int64_t groups = input_.groups();
  const int64_t outputs = ParameterShapes(op).at("weight")[0] / groups;
  sum_cross_ = at::zeros({groups, outputs, input_.row_size()}, at::kDouble);
  sum_target_ = at::zeros({groups, outputs}, at::kDouble);
  sum_squares_ = at::zeros({groups, outputs}, at::kDouble);
}

absl::Status LayerRegression::Observe(const at::Tensor& x, const at::Tensor& t) {
  LOWBIT_CHECK(x.size(0) == t.size(0), "images of x and t");
  LOWBIT_RETURN_IF_ERROR(CheckFinite(x));
  LOWBIT_RETURN_IF_ERROR(CheckFinite(t, "values of the target"));
  for (int64_t begin = 0; begin < x.size(0); begin += kChunk) {
    const int64_t count = std::min(kChunk, x.size(0) - begin);
    const int64_t first_image = input_.images();
    const at::Tensor rows = GatherInputRows(op_, x.narrow(0, begin, count), first_image);
    LOWBIT_RETURN_IF_ERROR(input_.ObserveRows(rows, count));
    const at::Tensor target = GatherOutputRows(op_, t.narrow(0, begin, count), first_image);
    const at::Tensor exact = target.to(at::kDouble);
    const bool large = HasLargeValues(rows) || HasLargeValues(target);
    sum_cross_.add_(large ? at::matmul(exact.transpose(1, 2), rows.to(at::kDouble))
                          : at::matmul(target.transpose(1, 2), rows));
    sum_target_.add_(exact.sum(1));
    sum_squares_.add_((exact * exact).sum(1));
  }
  return absl::OkStatus();
}

at::Tensor LayerRegression::Gram() const {
  const at::Tensor gram = input_.Gram();
  if (!has_bias_) return gram;
  return gram - Outer(input_.Mean(), input_.Mean());
}

at::Tensor LayerRegression::Cross() const {
  const double rows = static_cast<double>(input_.rows());
  const at::Tensor cross = sum_cross_ / rows;
  if (!has_bias_) return cross;
  return cross - Outer(sum_target_ / rows, input_.Mean());
}

at::Tensor LayerRegression::Rows(const at::Tensor& weight) const {
  return weight.to(at::kDouble).contiguous().view(sum_cross_.sizes());
}

absl::StatusOr<at::Tensor> LayerRegression::FitWeight(const at::Tensor& weight, double damping) const {
  const at::Tensor gram = Gram();
  at::Tensor rows = Rows(weight);
  const at::Tensor residual = Cross() - at::matmul(rows, gram);
  at::Tensor change = at::zeros_like(rows);
  for (int64_t g = 0; g < gram.size(0); ++g) {
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor factor, InverseGramFactor(gram[g], damping));
    change[g].copy_(at::matmul(at::matmul(residual[g], factor.t()), factor));
  }
  return (rows + change).to(at::kFloat).view(weight.sizes());
}

at::Tensor LayerRegression::FitBias(const at::Tensor& weight) const {
  const at::Tensor output = at::matmul(Rows(weight), input_.Mean().unsqueeze(2)).squeeze(2);
  return (sum_target_ / static_cast<double>(input_.rows()) - output).to(at::kFloat).view({-1});
}

InputStatistics LayerRegression::Moments() const {
  at::Tensor mean = input_.Mean();
  if (has_bias_) mean = at::zeros_like(mean);
  return InputStatistics::FromMoments(op_, Gram(), std::move(mean), input_.images(), input_.rows());
}

double LayerRegression::RelativeError(const at::Tensor& weight, const at::Tensor& bias) const {
  const double count = static_cast<double>(input_.rows());
  const at::Tensor rows = Rows(weight);
  const at::Tensor mean_target = sum_target_ / count;
  const at::Tensor mean_output = at::matmul(rows, input_.Mean().unsqueeze(2)).squeeze(2);
  const at::Tensor b = bias.defined() ? bias.to(at::kDouble).view(mean_target.sizes()) : at::zeros_like(mean_target);
  // E (t - y - b)^2 = E t^2 + E y^2 + b^2 - 2 E t y - 2 b E t + 2 b E y, with y = W x
  const at::Tensor squares = sum_squares_ / count;
  const at::Tensor error = squares + (at::matmul(rows, input_.Gram()) * rows).sum(2) + b * b -
                           (rows * sum_cross_ / count).sum(2) * 2 - b * mean_target * 2 + b * mean_output * 2;
  const double variance = (squares - mean_target * mean_target).sum().item<double>();
  const double missed = std::max(error.sum().item<double>(), 0.0);
  return variance > 0 ? missed / variance : missed;
}

}  // namespace lowbit
