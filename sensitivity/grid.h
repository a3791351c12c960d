#ifndef LOWBIT_SENSITIVITY_GRID_H_
#define LOWBIT_SENSITIVITY_GRID_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "quant/quant_params.h"
#include "quant/statistics.h"

namespace lowbit {

// What quantization makes of a tensor's range, for people to look at. Holds for every kind of grid: it goes by the
// values that the codes stand for.

// Where the grid of a tensor, or of one of its channels, begins and ends.
struct GridRange {
  float low = 0;  // the lowest and the highest level
  float high = 0;
  // What lies beyond these is clipped: it is further from its level than half of the outermost step, as nothing between
  // two levels of a uniform grid is.
  double clip_low = 0;
  double clip_high = 0;
};

// One for the tensor, or one for each channel.
std::vector<GridRange> GridRanges(const QuantParams& params);

// The levels of the tensor or of its first channel, ascending; at most 256 of them.
std::vector<float> GridLevels(const QuantParams& params);

// How many values of x are clipped. float32 in any memory order; with a range for each channel, channels are dimension
// 0.
int64_t CountClipped(const at::Tensor& x, const std::vector<GridRange>& ranges);

// Equal bars over [low, high].
struct Bars {
  double low = 0;
  double high = 0;
  std::vector<int64_t> counts;
};

// A histogram's values between `low` and `high`, which hold all of them; the counts of bins that two bars share are
// shared too. One bar if low is not below high.
Bars MakeBars(const Histogram& histogram, float low, float high, int bars);

// The values of a weight by their place in the grid of their channel, 0 for its lowest level and 1 for its highest: so
// channels with grids of their own are comparable. Covers at least [0, 1] and at most [-0.5, 1.5]; what lies beyond is
// in the outermost bars.
Bars MakePlaceBars(const at::Tensor& weight, const std::vector<GridRange>& ranges, int bars);

}  // namespace lowbit

#endif  // LOWBIT_SENSITIVITY_GRID_H_
