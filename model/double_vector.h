#ifndef LOWBIT_MODEL_DOUBLE_VECTOR_H_
#define LOWBIT_MODEL_DOUBLE_VECTOR_H_

#include <ATen/core/Tensor.h>

#include <vector>

namespace lowbit {

// For arithmetic channel by channel in double precision.

// The numbers of a tensor of any type and shape, in row-major order.
std::vector<double> ToVector(const at::Tensor& values);

// One-dimensional float32, rounded to the nearest.
at::Tensor ToFloats(const std::vector<double>& values);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_DOUBLE_VECTOR_H_
