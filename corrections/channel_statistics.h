#ifndef LOWBIT_CORRECTIONS_CHANNEL_STATISTICS_H_
#define LOWBIT_CORRECTIONS_CHANNEL_STATISTICS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "model/channel_moments.h"

namespace lowbit {

// Mean and standard deviation of each channel of a tensor, over all images and pixels, in double precision. What comes
// out depends on the images and their order alone, not on the number of threads nor on how they were split in batches.
class ChannelStatistics {
 public:
  // x: float32 [N, C, ...] on the CPU, with the same C in each call. InvalidArgument, with nothing taken over, if
  // values are NaN or infinite: "channel 3 has NaN or infinite values"; or if there are none: "there are no values, in
  // a tensor of shape [0, 3, 4, 4]".
  absl::Status Observe(const at::Tensor& x);

  // Values of each channel so far.
  int64_t count() const { return count_; }

  // Of all values so far; the standard deviation is that of the values themselves (their squares divided by count(),
  // not count() - 1), and exactly 0 if all are the same. Empty before the first image.
  ChannelMoments moments() const;

 private:
  int64_t count_ = 0;
  std::vector<double> mean_;
  std::vector<double> squares_;  // sum of (x - mean)^2
};

}  // namespace lowbit

#endif  // LOWBIT_CORRECTIONS_CHANNEL_STATISTICS_H_
