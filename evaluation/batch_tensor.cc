#include "evaluation/batch_tensor.h"

#include <ATen/ops/from_blob.h>

namespace lowbit {

at::Tensor ImagesTensor(Batch& batch) {
  return at::from_blob(batch.images.data(), {batch.size(), batch.shape.channels, batch.shape.height, batch.shape.width},
                       at::kFloat);
}

at::Tensor LabelsTensor(const Batch& batch) {
  return at::from_blob(const_cast<int32_t*>(batch.labels.data()), {batch.size()}, at::kInt).to(at::kLong);
}

}  // namespace lowbit
