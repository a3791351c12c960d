#ifndef LOWBIT_QUANT_LAYER_REGRESSION_H_
#define LOWBIT_QUANT_LAYER_REGRESSION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/graph.h"
#include "quant/input_statistics.h"

namespace lowbit {

// The weight and bias with which a convolution or linear layer that reads x comes closest to t, in closed form: a
// ridge regression over all positions of all images (of each image the lattice of quant/input_rows.h).
//
//   E |t - W x - b|^2 + d |W - W0|^2 -> min      d = damping * mean of C's diagonal
//
//   W = W0 + (Cov(t, x) - W0 C) (C + d I)^-1,  b = E t - W E x      C = Cov(x, x)
//
// for each group of a convolution by itself. A layer without a bias has the second moments E x x^T and E t x^T in the
// places of the covariances.
//
// Streaming, in memory of a few numbers for each weight and groups * K * K more, whatever the number of images.
class LayerRegression {
 public:
  explicit LayerRegression(const Op& op);

  // x: float32, what the layer reads. t: float32 of the shape of what it puts out. The same number of images each.
  // InvalidArgument, with nothing taken over, for values that are NaN or infinite.
  absl::Status Observe(const at::Tensor& x, const at::Tensor& t);

  int64_t images() const { return input_.images(); }

  // The following need an image; else they end the process.

  // W, float32 of the shape of `weight`, which is W0. damping >= 0 is raised as in quant/gram_inverse.h, and so are its
  // errors.
  absl::StatusOr<at::Tensor> FitWeight(const at::Tensor& weight, double damping) const;

  // b = E t - W E x for any weight W: with it the mean of each output is that of t. float32 [O].
  at::Tensor FitBias(const at::Tensor& weight) const;

  // How much an error of the weight matters once the bias is fitted: the moments of x less its mean, that is C with
  // mean 0. Of a layer without a bias those of x itself.
  InputStatistics Moments() const;

  // E |t - W x - b|^2 / E |t - E t|^2, over all outputs: what share of the outputs' variance is missed. `bias` is
  // undefined for a layer without one. 0 where t is constant and met.
  double RelativeError(const at::Tensor& weight, const at::Tensor& bias) const;

 private:
  at::Tensor Gram() const;                          // C, or E x x^T
  at::Tensor Cross() const;                         // Cov(t, x), or E t x^T: [groups, O / groups, K]
  at::Tensor Rows(const at::Tensor& weight) const;  // float64 [groups, O / groups, K]

  Op op_;
  bool has_bias_;
  InputStatistics input_;
  at::Tensor sum_cross_;    // float64 [groups, O / groups, K]: of t x^T
  at::Tensor sum_target_;   // float64 [groups, O / groups]
  at::Tensor sum_squares_;  // likewise: of t^2
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_LAYER_REGRESSION_H_
