#ifndef LOWBIT_TORCH_INT8_HISTOGRAM_OBSERVER_H_
#define LOWBIT_TORCH_INT8_HISTOGRAM_OBSERVER_H_

#include "quant/quant_params.h"
#include "quant/statistics.h"

namespace lowbit {

struct ValueRange {
  double min = 0;
  double max = 0;
};

// The part of [min, max], where all values of a histogram lie, that a grid of `levels` equal cells should cover, as
// LibTorch's HistogramObserver looks for it (NormMinimization in caffe2/quantization/server): starting from everything,
// give up the sparser of the two tails in steps of 1e-5 of all values for as long as the squared error falls, where
// values are taken as spread evenly over each of 2048 bins and a cell stands for its centre.
ValueRange SearchRange(const Histogram& histogram, double min, double max, int levels);

// Scale and zero point of LibTorch's quint8 for a tensor: the range that SearchRange finds, widened to hold 0.
// `reduce_range` uses codes up to 127 only, which keeps the 16-bit sums of pairs that some engines make on CPUs without
// VNNI from saturating. Needs statistics with min_max and histogram, of at least one image.
QuantParams Quint8Params(const TensorStatistics& statistics, bool reduce_range);

}  // namespace lowbit

#endif  // LOWBIT_TORCH_INT8_HISTOGRAM_OBSERVER_H_
