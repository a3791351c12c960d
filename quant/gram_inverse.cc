#include "quant/gram_inverse.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lowbit {
namespace {

constexpr double kSmallestRaise = 1e-10;

// A squared pivot smaller than this share of the diagonal is made of rounding errors.
constexpr double kPivotShare = 1e-12;

// R, upper triangular with A = R R^T. It is the Cholesky factor of A with rows and columns in reverse, reversed.
std::optional<at::Tensor> UpperFactor(const at::Tensor& matrix) {
  const auto [lower, info] = at::linalg_cholesky_ex(matrix.flip({0, 1}).contiguous());
  if (info.item<int32_t>() != 0 || !at::isfinite(lower).all().item<bool>()) return std::nullopt;
  const at::Tensor pivots = lower.diagonal() * lower.diagonal();
  const at::Tensor diagonal = matrix.diagonal().flip({0});
  if ((pivots < diagonal * kPivotShare).any().item<bool>()) return std::nullopt;
  return lower.flip({0, 1}).contiguous();
}

}  // namespace

double RaisedDamping(double damping) { return std::max(10 * damping, kSmallestRaise); }

absl::StatusOr<at::Tensor> InverseGramFactor(const at::Tensor& gram, double damping) {
  LOWBIT_CHECK(gram.dim() == 2 && gram.size(0) == gram.size(1) && gram.scalar_type() == at::kDouble && damping >= 0,
               "no Gram matrix");
  if (!at::isfinite(gram).all().item<bool>()) {
    return absl::InvalidArgumentError("the Gram matrix of the inputs is not finite");
  }
  // Scaled to a mean diagonal of 1: numbers of any magnitude then stay in range.
  const double mean = gram.diagonal().mean().item<double>();
  const double unit = mean > 0 ? mean : 1;
  at::Tensor matrix = gram / unit;
  const at::Tensor dead = matrix.diagonal() <= 0;
  matrix.diagonal().copy_(at::where(dead, at::ones_like(matrix.diagonal()), matrix.diagonal()));
  const at::Tensor identity = at::eye(matrix.size(0), matrix.options());
  for (double d = damping; d <= kLargestDamping; d = RaisedDamping(d)) {
    const std::optional<at::Tensor> upper = UpperFactor(matrix + identity * d);
    if (!upper.has_value()) continue;
    // G = R R^T, so G^-1 = R^-T R^-1, and U = R^-1.
    const at::Tensor inverse = at::linalg_solve_triangular(*upper, identity, /*upper=*/true);
    if (!at::isfinite(inverse).all().item<bool>()) continue;
    return (inverse / std::sqrt(unit)).contiguous();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the Gram matrix of the inputs cannot be inverted, with no damping up to ", kLargestDamping,
                   " of its mean diagonal; calibrate on more images, or take a quantizer that does without it"));
}

}  // namespace lowbit
