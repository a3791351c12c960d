#include "quant/range_error.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "quant/affine.h"
#include "quant/span_kernels.h"

namespace lowbit {
namespace {

// Sum of |d[i] / unit|^p.
double SumOfPowers(const float* d, int64_t size, float p, float unit) {
  double sum = 0;
  if (p == 2) {
    for (int64_t i = 0; i < size; ++i) {
      const double e = d[i] / unit;
      sum += e * e;
    }
  } else {
    for (int64_t i = 0; i < size; ++i) sum += std::pow(std::fabs(d[i] / unit), p);
  }
  return sum;
}

// e(x) = |x - x'|^p and its integral, with everything in units of `unit`.
class ErrorIntegral {
 public:
  ErrorIntegral(const Grid& grid, double p, double unit)
      : scale_(grid.scale / unit),
        zero_point_(grid.zero_point),
        qmin_(grid.qmin),
        qmax_(grid.qmax),
        p_(p),
        step_(2 * IntegralFromCode(scale_ / 2)) {}

  double At(double x) const { return std::pow(std::fabs(x - Value(Code(x))), p_); }

  // From the lowest code's value to x: a whole step for each code in between, and the rest around the code nearest to
  // x. Beyond the outermost codes that rest simply goes on.
  double To(double x) const {
    const double q = Code(x);
    const double rest = x - Value(q);
    return (q - qmin_) * step_ + (rest < 0 ? -IntegralFromCode(-rest) : IntegralFromCode(rest));
  }

 private:
  double Code(double x) const { return std::min(std::max(std::nearbyint(x / scale_ + zero_point_), qmin_), qmax_); }
  double Value(double q) const { return (q - zero_point_) * scale_; }
  // Of u^p from 0 to u.
  double IntegralFromCode(double u) const { return (p_ == 2 ? u * u * u : std::pow(u, p_ + 1)) / (p_ + 1); }

  const double scale_;
  const double zero_point_;
  const double qmin_;
  const double qmax_;
  const double p_;
  const double step_;
};

// Of x and what `fake_quantize` makes of it.
template <typename FakeQuantizeFunction>
double MeanPower(absl::Span<const float> values, double p, double unit, const FakeQuantizeFunction& fake_quantize) {
  constexpr int64_t kChunk = 1024;
  std::array<float, kChunk> difference;
  const int64_t size = static_cast<int64_t>(values.size());
  double sum = 0;
  for (int64_t done = 0; done < size; done += kChunk) {
    const int64_t n = std::min(kChunk, size - done);
    const float* const x = values.data() + done;
    fake_quantize(x, difference.data(), n);
    for (int64_t i = 0; i < n; ++i) difference[static_cast<size_t>(i)] -= x[i];
    sum += SumOfPowers(difference.data(), n, static_cast<float>(p), static_cast<float>(unit));
  }
  return size == 0 ? 0 : sum / static_cast<double>(size);
}

// Of the values that a histogram counts: `of_zero` for those that are exactly 0, as far as bins can tell, and
// of_bin(from, to) for the others of a bin, which lie there between the extremes.
template <typename BinFunction>
double MeanOverBins(const Histogram& histogram, const Range& extremes, double of_zero, const BinFunction& of_bin) {
  double sum = 0;
  double total = 0;
  for (int i = 0; i < Histogram::kBins; ++i) {
    double count = static_cast<double>(histogram.counts()[static_cast<size_t>(i)]);
    if (count == 0) continue;
    total += count;
    if (i == Histogram::kBins / 2) {
      const double zeros = static_cast<double>(histogram.EstimatedZeros());
      sum += zeros * of_zero;
      count -= zeros;
    }
    const double from = std::max(histogram.bin_lower(i), static_cast<double>(extremes.lo));
    const double to = std::min(histogram.bin_lower(i + 1), static_cast<double>(extremes.hi));
    sum += count * of_bin(from, to);
  }
  return total == 0 ? 0 : sum / total;
}

}  // namespace

double GridError(absl::Span<const float> values, const Grid& grid, double p, double unit) {
  return MeanPower(values, p, unit, [&](const float* in, float* out, int64_t size) {
    FakeQuantizeSpan(in, out, size, grid.scale, grid.zero_point, grid.qmin, grid.qmax, grid.scale);
  });
}

double GridError(absl::Span<const float> values, const ChannelGrid& grid, double p, double unit) {
  return MeanPower(values, p, unit, [&](const float* in, float* out, int64_t size) {
    for (int64_t i = 0; i < size; ++i) out[i] = grid.FakeQuantize(in[i]);
  });
}

double GridError(const Histogram& histogram, const Range& extremes, const ChannelGrid& grid, double p, double unit) {
  const auto error_at = [&](float x) {
    return std::pow(std::fabs((static_cast<double>(x) - static_cast<double>(grid.FakeQuantize(x))) / unit), p);
  };
  return MeanOverBins(histogram, extremes, error_at(0),
                      [&](double from, double to) { return error_at(static_cast<float>((from + to) / 2)); });
}

double GridError(const Histogram& histogram, const Range& extremes, const Grid& grid, double p, double unit) {
  const ErrorIntegral error(grid, p, unit);
  return MeanOverBins(histogram, extremes, /*of_zero=*/0, [&](double lower, double upper) {
    const double from = lower / unit;
    const double to = upper / unit;
    // (Not wider where the extreme stands at the bin's edge.)
    return to > from ? (error.To(to) - error.To(from)) / (to - from) : error.At(from);
  });
}

}  // namespace lowbit
