// Analytical clipping. docs/quantizers/aciq.md says more.

#include <cmath>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "quant/optimal_clip.h"
#include "quant/quantizer_registry.h"
#include "quant/range_error.h"
#include "quant/range_quantizer.h"
#include "quantizers/aciq/options.pb.h"

namespace lowbit {
namespace {

// Calls visit(x, how_many) for all values.
using Visitor = std::function<void(double x, double count)>;
using Values = std::function<void(const Visitor& visit)>;

void VisitSpan(absl::Span<const float> values, const Visitor& visit) {
  for (const float x : values) visit(x, 1);
}

// A bin's values count as its middle.
void VisitHistogram(const Histogram& histogram, const Visitor& visit) {
  const int64_t zeros = histogram.EstimatedZeros();
  if (zeros > 0) visit(0, static_cast<double>(zeros));
  for (int i = 0; i < Histogram::kBins; ++i) {
    const int64_t count = histogram.counts()[static_cast<size_t>(i)] - (i == Histogram::kBins / 2 ? zeros : 0);
    if (count > 0) visit(histogram.bin_lower(i) + histogram.bin_width() / 2, static_cast<double>(count));
  }
}

// Where the bell stands and how wide it is.
struct Shape {
  double center = 0;
  double b = 0;      // mean |x - center|
  double sigma = 0;  // root mean square of x - center
};

// How the values that have a say lie around the center: for one-sided tensors those that are not 0.
Shape ShapeOf(const Values& values, const RangeQuery& query) {
  const bool one_sided = !query.symmetric && IsOneSided(query.extremes);
  double count = 0;
  double sum = 0;
  values([&](double x, double n) {
    if (one_sided && x == 0) return;
    count += n;
    sum += n * x;
  });
  Shape shape;
  if (count == 0) return shape;
  if (!query.symmetric && !one_sided) shape.center = sum / count;
  double absolute = 0;
  double square = 0;
  values([&](double x, double n) {
    absolute += n * std::fabs(x - shape.center);
    square += n * (x - shape.center) * (x - shape.center);
  });
  shape.b = absolute / count;
  shape.sigma = std::sqrt(square / count);
  return shape;
}

// The range over which the outermost codes stand at a distance of alpha from the center (of the positive numbers, where
// the grid is symmetric: it has a code less there, and its range ends half a step beyond).
Range RangeOf(Bell bell, const Shape& shape, const RangeQuery& query) {
  const bool one_sided = !query.symmetric && IsOneSided(query.extremes);
  const double steps = std::ldexp(1.0, query.bits) - 1;
  const double relative_step = query.symmetric ? 2 / (steps - 1) : (one_sided ? 1 : 2) / steps;
  const double alpha = OptimalClip(bell, relative_step) * (bell == Bell::kLaplace ? shape.b : shape.sigma);
  const double reach = query.symmetric ? alpha * steps / (steps - 1) : alpha;
  return Clipped(shape.center - reach, shape.center + reach, query.extremes);  // (the extremes cut off the other side)
}

class Aciq : public RangeQuantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const AciqOptions& options) {
    return std::unique_ptr<Quantizer>(new Aciq(options));
  }

 private:
  explicit Aciq(const AciqOptions& options) : RangeQuantizer(SchemesOf(options)), family_(options.family()) {}

  StatsRequest range_request() const override {
    StatsRequest request;
    request.histogram = true;
    return request;
  }

  Range WeightRange(absl::Span<const float> weights, const RangeQuery& query) const override {
    return Choose(
        query, [&](const Visitor& visit) { VisitSpan(weights, visit); },
        [&](const Grid& grid) { return GridError(weights, grid, 2, Magnitude(query.extremes)); });
  }

  Range ActivationRange(const TensorStatistics& statistics, const RangeQuery& query) const override {
    const Histogram& histogram = statistics.histogram();
    return Choose(
        query, [&](const Visitor& visit) { VisitHistogram(histogram, visit); },
        [&](const Grid& grid) { return GridError(histogram, query.extremes, grid, 2, Magnitude(query.extremes)); });
  }

  Range Choose(const RangeQuery& query, const Values& values, const std::function<double(const Grid&)>& error) const {
    const Shape shape = ShapeOf(values, query);
    const Range laplace = RangeOf(Bell::kLaplace, shape, query);
    const Range gauss = RangeOf(Bell::kGauss, shape, query);
    if (family_ != AciqOptions::LOWER_ERROR) return family_ == AciqOptions::LAPLACE ? laplace : gauss;
    const auto grid = [&](const Range& range) { return MakeGrid(range, query.symmetric, query.bits); };
    return error(grid(laplace)) < error(grid(gauss)) ? laplace : gauss;
  }

  const AciqOptions::Family family_;
};

LOWBIT_REGISTER_QUANTIZER("aciq", AciqOptions, Aciq);

}  // namespace
}  // namespace lowbit
