#include "corrections/channel_statistics.h"

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/graph.h"
#include "quant/parallel_for.h"

namespace lowbit {
namespace {

double Sum(const float* x, int64_t size) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += x[i];
  return sum;
}

double SumOfSquares(const float* x, int64_t size, double mean) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += (x[i] - mean) * (x[i] - mean);
  return sum;
}

}  // namespace

absl::Status ChannelStatistics::Observe(const at::Tensor& x) {
  LOWBIT_CHECK(x.dim() >= 2 && x.scalar_type() == at::kFloat, "expected float [N, C, ...], got ", x.dim(),
               " dimensions");
  if (x.numel() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("there are no values, in a tensor of shape ", ShapeToString(x.sizes().vec())));
  }
  const at::Tensor dense = x.contiguous();
  const int64_t images = dense.size(0), channels = dense.size(1);
  const int64_t pixels = dense.numel() / (images * channels);
  LOWBIT_CHECK(count_ == 0 || mean_.size() == static_cast<size_t>(channels), "number of channels changed to ",
               channels);
  std::vector<double> mean = mean_, squares = squares_;
  mean.resize(static_cast<size_t>(channels), 0.0);
  squares.resize(static_cast<size_t>(channels), 0.0);
  // An image's own mean and squares, merged into those of all before it (Chan et al. 1979):
  //   d = m - mean,  mean += d n / (count + n),  squares += q + d^2 count n / (count + n)
  ParallelFor(channels, [&](int64_t c) {
    const auto channel = static_cast<size_t>(c);
    double count = static_cast<double>(count_);
    const double n = static_cast<double>(pixels);
    for (int64_t image = 0; image < images; ++image) {
      const float* plane = dense.data_ptr<float>() + (image * channels + c) * pixels;
      const double m = Sum(plane, pixels) / n;
      const double d = m - mean[channel];
      mean[channel] += d * (n / (count + n));
      squares[channel] += SumOfSquares(plane, pixels, m) + d * d * (count * n / (count + n));
      count += n;
    }
  });
  for (size_t c = 0; c < mean.size(); ++c) {
    if (!std::isfinite(mean[c]) || !std::isfinite(squares[c])) {
      return absl::InvalidArgumentError(absl::StrCat("channel ", c, " has NaN or infinite values"));
    }
  }
  mean_ = std::move(mean);
  squares_ = std::move(squares);
  count_ += images * pixels;
  return absl::OkStatus();
}

ChannelMoments ChannelStatistics::moments() const {
  ChannelMoments moments{mean_, squares_};
  for (double& std : moments.std) std = std::sqrt(std / static_cast<double>(count_));
  return moments;
}

}  // namespace lowbit
