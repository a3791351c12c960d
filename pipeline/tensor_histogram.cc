#include "pipeline/tensor_histogram.h"

#include <vector>

#include "base/check.h"
#include "quant/channel_grid.h"

namespace lowbit {
namespace {

std::vector<CountedValue> Middles(const Histogram& bins) {
  std::vector<CountedValue> values;
  for (int i = 0; i < Histogram::kBins; ++i) {
    const int64_t count = bins.counts()[static_cast<size_t>(i)];
    if (count > 0) values.push_back({bins.bin_lower(i) + bins.bin_width() / 2, count});
  }
  return values;
}

}  // namespace

HistogramSummary SummarizeTensor(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.detach().to(at::kCPU).contiguous();
  return SummarizeValues({dense.data_ptr<float>(), static_cast<size_t>(dense.numel())});
}

HistogramSummary SummarizeBins(const Histogram& bins) { return SummarizeCounts(Middles(bins)); }

HistogramSummary SummarizeQuantizedBins(const Histogram& bins, const QuantParams& params) {
  LOWBIT_CHECK(!params.per_channel(), "bins know nothing of channels");
  std::vector<CountedValue> values = Middles(bins);
  const ChannelGrid grid(params, 0);
  for (CountedValue& x : values) x.value = static_cast<double>(grid.FakeQuantize(static_cast<float>(x.value)));
  return SummarizeCounts(values);
}

}  // namespace lowbit
