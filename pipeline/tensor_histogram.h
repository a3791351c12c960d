#ifndef LOWBIT_PIPELINE_TENSOR_HISTOGRAM_H_
#define LOWBIT_PIPELINE_TENSOR_HISTOGRAM_H_

#include <ATen/core/Tensor.h>

#include "quant/quant_params.h"
#include "quant/statistics.h"
#include "tensorboard/histogram.h"

namespace lowbit {

// How the numbers of tensors are spread, for people to look at in TensorBoard.

// Of a float32 tensor, on whatever device.
HistogramSummary SummarizeTensor(const at::Tensor& tensor);

// Of an activation, from the bins of its statistics: every number counts as the middle of its bin.
HistogramSummary SummarizeBins(const Histogram& bins);

// The same after fake quantization with `params`, which have one scale.
HistogramSummary SummarizeQuantizedBins(const Histogram& bins, const QuantParams& params);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_TENSOR_HISTOGRAM_H_
