#include "model/double_vector.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>

namespace lowbit {

std::vector<double> ToVector(const at::Tensor& values) {
  const at::Tensor dense = values.detach().to(at::kDouble).contiguous();
  return {dense.data_ptr<double>(), dense.data_ptr<double>() + dense.numel()};
}

at::Tensor ToFloats(const std::vector<double>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::transform(values.begin(), values.end(), tensor.data_ptr<float>(),
                 [](double x) { return static_cast<float>(x); });
  return tensor;
}

}  // namespace lowbit
