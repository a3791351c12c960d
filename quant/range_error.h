#ifndef LOWBIT_QUANT_RANGE_ERROR_H_
#define LOWBIT_QUANT_RANGE_ERROR_H_

#include "absl/types/span.h"
#include "quant/channel_grid.h"
#include "quant/range_grid.h"
#include "quant/statistics.h"

namespace lowbit {

// How far a grid is from the values it is to stand for: the mean of (|x - x'| / unit)^p, with x' the value of the code
// nearest to x. `unit` is of the values' magnitude (Magnitude(extremes)), so that powers neither overflow nor vanish;
// p > 0.

// Of the values themselves.
double GridError(absl::Span<const float> values, const Grid& grid, double p, double unit);

// Of values of which only a histogram is left. In a bin they count as spread evenly, between `extremes`: the mean over
// a bin is then an integral in closed form, right also where steps are narrower than bins (16 bits). Zeros that stand
// out of their bin count as what they are, without error.
double GridError(const Histogram& histogram, const Range& extremes, const Grid& grid, double p, double unit);

// The same two on a grid of any kind. Of a histogram every bin counts as its middle here.
double GridError(absl::Span<const float> values, const ChannelGrid& grid, double p, double unit);
double GridError(const Histogram& histogram, const Range& extremes, const ChannelGrid& grid, double p, double unit);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_RANGE_ERROR_H_
