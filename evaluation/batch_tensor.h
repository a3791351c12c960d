#ifndef LOWBIT_EVALUATION_BATCH_TENSOR_H_
#define LOWBIT_EVALUATION_BATCH_TENSOR_H_

#include <ATen/core/Tensor.h>

#include "data/loader.h"

namespace lowbit {

// float [N, C, H, W]. The tensor lies on the batch's memory: the batch must outlive it.
at::Tensor ImagesTensor(Batch& batch);

// int64 [N], a copy.
at::Tensor LabelsTensor(const Batch& batch);

}  // namespace lowbit

#endif  // LOWBIT_EVALUATION_BATCH_TENSOR_H_
