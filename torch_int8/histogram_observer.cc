#include "torch_int8/histogram_observer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace lowbit {
namespace {

// The part of all values that a tail gives up at a time.
constexpr double kStep = 1e-5;

// LibTorch's smallest scale.
constexpr double kSmallestScale = std::numeric_limits<float>::epsilon();

// Counts in kBins equal bins from `origin` on, as LibTorch's observer keeps them. Not whole numbers: a bin of ours that
// lies across several of these is divided among them.
struct Bins {
  static constexpr int kBins = 2048;

  double origin = 0;
  double width = 0;
  std::vector<double> counts = std::vector<double>(kBins, 0.0);
};

Bins Resample(const Histogram& histogram, double min, double max) {
  Bins bins;
  bins.origin = min;
  bins.width = (max - min) / Bins::kBins;
  for (int i = 0; i < Histogram::kBins; ++i) {
    const auto count = static_cast<double>(histogram.counts()[static_cast<size_t>(i)]);
    if (count == 0) continue;
    // No value of this bin lies outside of [min, max].
    const double begin = std::max(min, histogram.bin_lower(i));
    const double end = std::max(begin, std::min(max, histogram.bin_lower(i + 1)));
    const int last = std::clamp(static_cast<int>((end - min) / bins.width), 0, Bins::kBins - 1);
    for (int k = std::clamp(static_cast<int>((begin - min) / bins.width), 0, last); k <= last; ++k) {
      const double overlap = std::min(end, min + (k + 1) * bins.width) - std::max(begin, min + k * bins.width);
      const double share = end > begin ? std::max(0.0, overlap) / (end - begin) : 1;
      bins.counts[static_cast<size_t>(k)] += count * share;
    }
  }
  return bins;
}

// Integral of t^2 from 0 to t.
double Cube(double t) { return t * t * t / 3; }

// Sum of (x - centre of x's cell)^2 over all values, for `levels` cells over the bins first to last.
double SquaredError(const Bins& bins, int first, int last, int levels) {
  const double cell = bins.width * (last - first + 1) / levels;
  const double whole_cell = Cube(cell / 2) - Cube(-cell / 2);
  const auto cell_of = [&](double x) { return std::clamp(std::floor(x / cell), 0.0, levels - 1.0); };
  double error = 0;
  for (int i = 0; i < Bins::kBins; ++i) {
    if (bins.counts[static_cast<size_t>(i)] == 0) continue;
    const double begin = (i - first) * bins.width;
    const double end = begin + bins.width;
    const double begin_cell = cell_of(begin), end_cell = cell_of(end);
    // From `begin` to the end of its cell, the cells between, from the start of `end`'s cell to `end`. For one and the
    // same cell the cells between are minus one.
    const double integral = Cube(cell / 2) - Cube(begin - (begin_cell + 0.5) * cell) +
                            (end_cell - begin_cell - 1) * whole_cell + Cube(end - (end_cell + 0.5) * cell) -
                            Cube(-cell / 2);
    error += bins.counts[static_cast<size_t>(i)] / bins.width * integral;
  }
  return error;
}

}  // namespace

ValueRange SearchRange(const Histogram& histogram, double min, double max, int levels) {
  if (!(min < max)) return {min, max};
  const Bins bins = Resample(histogram, min, max);
  std::vector<double> up_to(bins.counts.size());  // the values in this bin and those below it
  std::partial_sum(bins.counts.begin(), bins.counts.end(), up_to.begin());
  const double total = up_to.back();

  double low = 0, high = 1;  // the quantiles that the range lies between
  int first = 0, last = Bins::kBins - 1;
  double least = std::numeric_limits<double>::infinity();
  while (low < high) {
    int next_first = first, next_last = last;
    while (next_first < last && up_to[static_cast<size_t>(next_first)] < (low + kStep) * total) ++next_first;
    while (next_last > first && up_to[static_cast<size_t>(next_last)] > (high - kStep) * total) --next_last;
    if (next_first - first > last - next_last) {
      low += kStep;
      next_last = last;
    } else {
      high -= kStep;
      next_first = first;
    }
    if (next_first == first && next_last == last) continue;
    const double error = SquaredError(bins, next_first, next_last, levels);
    if (error > least) break;
    least = error;
    first = next_first;
    last = next_last;
  }
  return {bins.origin + bins.width * first, bins.origin + bins.width * (last + 1)};
}

QuantParams Quint8Params(const TensorStatistics& statistics, bool reduce_range) {
  constexpr int kLevels = 256;  // LibTorch searches for 256 even where it then uses 128
  const ValueRange found = SearchRange(statistics.histogram(), statistics.min(), statistics.max(), kLevels);
  const double min = std::min(0.0, found.min);
  const double max = std::max(0.0, found.max);
  const double top_code = reduce_range ? 127 : 255;
  const double scale = std::max((max - min) / top_code, kSmallestScale);
  QuantParams params;
  params.bits = 8;
  params.is_signed = false;
  params.scale = {static_cast<float>(scale)};
  params.zero_point = {static_cast<float>(std::clamp(-std::nearbyint(min / scale), 0.0, top_code))};
  return params;
}

}  // namespace lowbit
