#include "sensitivity/grid.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

constexpr int kMostBits = 8;  // whose levels are all looked at

// The levels of every channel, each channel's ascending. Of wide codes only those next to the ends.
std::vector<std::vector<float>> Levels(const QuantParams& params) {
  std::vector<int32_t> codes;
  if (params.bits <= kMostBits) {
    for (int32_t q = params.qmin(); q <= params.qmax(); ++q) codes.push_back(q);
  } else {
    codes = {params.qmin(), params.qmin() + 1, params.qmax() - 1, params.qmax()};
  }
  const int64_t channels = static_cast<int64_t>(params.scale.size());
  const int64_t count = static_cast<int64_t>(codes.size());
  at::Tensor table = at::empty({channels, count}, at::kInt);
  for (int64_t c = 0; c < channels; ++c) std::copy(codes.begin(), codes.end(), table.data_ptr<int32_t>() + c * count);
  const at::Tensor values = Dequantize(table, params);
  std::vector<std::vector<float>> levels;
  for (int64_t c = 0; c < channels; ++c) {
    const float* const row = values.data_ptr<float>() + c * count;
    levels.emplace_back(row, row + count);
    std::sort(levels.back().begin(), levels.back().end());
  }
  return levels;
}

// Adds `count` values, spread evenly over [from, to], to the bars.
void Spread(double from, double to, double count, const Bars& bars, std::vector<double>* sums) {
  const double width = (bars.high - bars.low) / static_cast<double>(sums->size());
  const auto bar = [&](double x) {
    return std::min(std::max(static_cast<int64_t>(std::floor((x - bars.low) / width)), int64_t{0}),
                    static_cast<int64_t>(sums->size()) - 1);
  };
  from = std::min(std::max(from, bars.low), bars.high);
  to = std::max(std::min(to, bars.high), from);
  const int64_t first = bar(from);
  const int64_t last = bar(to);
  if (first == last || to == from) {
    (*sums)[static_cast<size_t>(first)] += count;
    return;
  }
  for (int64_t i = first; i <= last; ++i) {
    const double begin = std::max(from, bars.low + static_cast<double>(i) * width);
    const double end = std::min(to, bars.low + static_cast<double>(i + 1) * width);
    (*sums)[static_cast<size_t>(i)] += count * std::max(end - begin, 0.0) / (to - from);
  }
}

}  // namespace

std::vector<GridRange> GridRanges(const QuantParams& params) {
  std::vector<GridRange> ranges;
  for (const std::vector<float>& levels : Levels(params)) {
    const size_t last = levels.size() - 1;
    GridRange range;
    range.low = levels.front();
    range.high = levels.back();
    range.clip_low = levels[0] - (static_cast<double>(levels[1]) - levels[0]) / 2;
    range.clip_high = levels[last] + (static_cast<double>(levels[last]) - levels[last - 1]) / 2;
    ranges.push_back(range);
  }
  return ranges;
}

std::vector<float> GridLevels(const QuantParams& params) {
  if (params.bits > kMostBits) return {};
  return Levels(params).front();
}

int64_t CountClipped(const at::Tensor& x, const std::vector<GridRange>& ranges) {
  // The order of the numbers matters only where channels are told apart.
  const bool as_it_lies = ranges.size() == 1 && x.is_non_overlapping_and_dense();
  const at::Tensor dense = as_it_lies ? x : x.contiguous();
  const int64_t row = dense.numel() / static_cast<int64_t>(ranges.size());
  const float* values = dense.data_ptr<float>();
  int64_t clipped = 0;
  for (const GridRange& range : ranges) {
    const float low = static_cast<float>(range.clip_low);
    const float high = static_cast<float>(range.clip_high);
    int64_t here = 0;
    for (int64_t i = 0; i < row; ++i) here += values[i] < low || values[i] > high;
    clipped += here;
    values += row;
  }
  return clipped;
}

Bars MakeBars(const Histogram& histogram, float low, float high, int bars) {
  Bars result{low, high, {}};
  std::vector<double> sums(low < high ? static_cast<size_t>(bars) : 1);
  const int64_t zeros = histogram.EstimatedZeros();
  for (int i = 0; i < Histogram::kBins; ++i) {
    int64_t count = histogram.counts()[static_cast<size_t>(i)];
    if (i == Histogram::kBins / 2) {
      if (zeros > 0) Spread(0, 0, static_cast<double>(zeros), result, &sums);
      count -= zeros;
    }
    if (count <= 0) continue;
    const double from = histogram.bin_lower(i);
    if (sums.size() == 1) {
      sums[0] += static_cast<double>(count);
    } else {
      Spread(from, from + histogram.bin_width(), static_cast<double>(count), result, &sums);
    }
  }
  for (const double sum : sums) result.counts.push_back(std::llround(sum));
  return result;
}

Bars MakePlaceBars(const at::Tensor& weight, const std::vector<GridRange>& ranges, int bars) {
  const at::Tensor dense = weight.contiguous();
  const int64_t row = dense.numel() / static_cast<int64_t>(ranges.size());
  std::vector<double> places;
  const float* value = dense.data_ptr<float>();
  for (const GridRange& range : ranges) {
    const double width = static_cast<double>(range.high) - range.low;
    for (int64_t i = 0; i < row; ++i, ++value) {
      // (Scales of hardly any size give a grid of none.)
      places.push_back(width > 0 ? (static_cast<double>(*value) - range.low) / width : 0);
    }
  }
  const auto [least, most] = std::minmax_element(places.begin(), places.end());
  Bars result{std::max(std::min(*least, 0.0), -0.5), std::min(std::max(*most, 1.0), 1.5), {}};
  result.counts.resize(static_cast<size_t>(bars));
  for (const double place : places) {
    const double bar = std::floor((place - result.low) / (result.high - result.low) * bars);
    ++result.counts[static_cast<size_t>(std::min(std::max(bar, 0.0), bars - 1.0))];
  }
  return result;
}

}  // namespace lowbit
