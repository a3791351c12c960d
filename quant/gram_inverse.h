#ifndef LOWBIT_QUANT_GRAM_INVERSE_H_
#define LOWBIT_QUANT_GRAM_INVERSE_H_

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"

namespace lowbit {

// More damping than this, as a share of the mean diagonal, helps nobody.
constexpr double kLargestDamping = 1e3;

// What to try where a damping does not suffice: ten times as much, and 1e-10 after 0.
double RaisedDamping(double damping);

// Of a Gram matrix G, float64 [K, K], the upper triangular U with (G + d I)^-1 = U^T U and a positive diagonal.
//
// d = damping * mean of G's diagonal. Where that does not suffice to make the matrix positive definite in floating
// point (fewer samples than K, inputs that depend on each other), the damping is raised (RaisedDamping) until it does.
// An input that is always 0 stands alone: it gets the mean diagonal (1 if all are 0), so that its weights neither take
// over errors of others nor have any to pass on.
//
// InvalidArgument if G is not finite, or if no damping up to 1000 times the mean diagonal helps.
absl::StatusOr<at::Tensor> InverseGramFactor(const at::Tensor& gram, double damping);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_GRAM_INVERSE_H_
