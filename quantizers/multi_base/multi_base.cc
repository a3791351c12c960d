// A sum of binary tensors. docs/quantizers/multi_base.md says more.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "quant/channel_grid.h"
#include "quant/fake_quantize.h"
#include "quant/parallel_for.h"
#include "quant/quantizer_registry.h"
#include "quant/range_grid.h"
#include "quantizers/multi_base/options.pb.h"

namespace lowbit {
namespace {

// Below this share of the first scale another one makes no difference, but has to stay above 0.
constexpr double kSmallestBase = 1e-6;

constexpr double kLargestScale = std::numeric_limits<float>::max();

// The values of a channel: shift + the sum of +-scales[i]. Code u has a plus where its bit i is set.
struct Fit {
  std::vector<double> scales;
  double shift = 0;
  double error = 0;  // the sum of squares
};

// The sums, ascending, and their codes.
struct Sums {
  std::vector<double> values;
  std::vector<uint32_t> codes;

  explicit Sums(const Fit& fit) {
    std::vector<double> by_code;
    for (uint32_t u = 0; u < uint32_t{1} << fit.scales.size(); ++u) {
      double sum = fit.shift;
      for (size_t i = 0; i < fit.scales.size(); ++i) sum += (u >> i & 1) != 0 ? fit.scales[i] : -fit.scales[i];
      by_code.push_back(sum);
    }
    codes.resize(by_code.size());
    std::iota(codes.begin(), codes.end(), 0u);
    std::stable_sort(codes.begin(), codes.end(), [&](uint32_t a, uint32_t b) { return by_code[a] < by_code[b]; });
    for (const uint32_t u : codes) values.push_back(by_code[u]);
  }

  size_t Nearest(double x) const {
    const size_t above = static_cast<size_t>(std::lower_bound(values.begin(), values.end(), x) - values.begin());
    if (above == 0) return 0;
    if (above == values.size()) return above - 1;
    return x - values[above - 1] <= values[above] - x ? above - 1 : above;
  }
};

// Chooses the codes for given scales, and measures them.
void Assign(absl::Span<const float> weights, Fit* fit, std::vector<uint32_t>* codes) {
  const Sums sums(*fit);
  fit->error = 0;
  for (size_t j = 0; j < weights.size(); ++j) {
    const double w = static_cast<double>(weights[j]);
    const size_t nearest = sums.Nearest(w);
    (*codes)[j] = sums.codes[nearest];
    fit->error += (w - sums.values[nearest]) * (w - sums.values[nearest]);
  }
}

// Solves A x = b for symmetric positive definite A by Gaussian elimination with pivots on the diagonal. Unknowns whose
// pivot vanishes stay as they are in x.
void Solve(std::vector<std::vector<double>> a, std::vector<double> b, std::vector<double>* x) {
  const size_t n = b.size();
  std::vector<bool> solved(n, false);
  std::vector<size_t> order;
  const double smallest = 1e-9 * a[0][0];  // the number of weights
  for (size_t step = 0; step < n; ++step) {
    size_t pivot = n;
    for (size_t i = 0; i < n; ++i) {
      if (!solved[i] && (pivot == n || a[i][i] > a[pivot][pivot])) pivot = i;
    }
    if (a[pivot][pivot] <= smallest) break;
    solved[pivot] = true;
    order.push_back(pivot);
    for (size_t i = 0; i < n; ++i) {
      if (solved[i]) continue;
      const double factor = a[i][pivot] / a[pivot][pivot];
      for (size_t k = 0; k < n; ++k) a[i][k] -= factor * a[pivot][k];
      b[i] -= factor * b[pivot];
    }
  }
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    double rest = b[*it];
    for (size_t k = 0; k < n; ++k) {
      if (k != *it) rest -= a[*it][k] * (*x)[k];
    }
    (*x)[*it] = rest / a[*it][*it];
  }
}

// The scales (and the shift) of the smallest squared error for given codes: the normal equations of w ~ B a.
void FitScales(absl::Span<const float> weights, const std::vector<uint32_t>& codes, bool shifted, Fit* fit) {
  const size_t k = fit->scales.size();
  const size_t n = k + (shifted ? 1 : 0);
  const auto sign = [&](uint32_t u, size_t i) { return i == k || (u >> i & 1) != 0 ? 1.0 : -1.0; };
  std::vector<std::vector<double>> a(n, std::vector<double>(n, 0));
  std::vector<double> b(n, 0);
  for (size_t j = 0; j < weights.size(); ++j) {
    for (size_t i = 0; i < n; ++i) {
      b[i] += sign(codes[j], i) * static_cast<double>(weights[j]);
      for (size_t l = 0; l < n; ++l) a[i][l] += sign(codes[j], i) * sign(codes[j], l);
    }
  }
  std::vector<double> x = fit->scales;
  if (shifted) x.push_back(fit->shift);
  Solve(std::move(a), std::move(b), &x);
  if (shifted) fit->shift = x[k];
  // A negative scale is a positive one with all signs turned: the same sums.
  for (size_t i = 0; i < k; ++i) fit->scales[i] = std::fabs(x[i]);
}

// What the grid can say: no base below kSmallestBase of the first, which is the largest, and the shift within its
// bounds.
void Tidy(Fit* fit) {
  std::sort(fit->scales.begin(), fit->scales.end(), std::greater<double>());
  fit->scales[0] = std::max<double>(fit->scales[0], static_cast<double>(OneBitMagnitude(0)));
  for (double& scale : fit->scales) scale = std::max(scale, kSmallestBase * fit->scales[0]);
  const double most = 4 * fit->scales[0];  // zero points of one bit and of two end there
  fit->shift = std::clamp(fit->shift, -most, most);
}

// From `start` on, as long as it gets better.
Fit Alternate(absl::Span<const float> weights, Fit start, bool shifted, int iterations) {
  std::vector<uint32_t> codes(weights.size());
  Tidy(&start);
  Assign(weights, &start, &codes);
  Fit best = start;
  for (int turn = 0; turn < iterations; ++turn) {
    Fit next = best;
    FitScales(weights, codes, shifted, &next);
    Tidy(&next);
    Assign(weights, &next, &codes);
    if (!(next.error < best.error * (1 - 1e-9))) break;
    best = next;
  }
  return best;
}

Fit Greedy(absl::Span<const float> weights, int bits, bool shifted) {
  Fit fit;
  std::vector<double> rest(weights.begin(), weights.end());
  if (shifted) {
    fit.shift = std::accumulate(rest.begin(), rest.end(), 0.0) / static_cast<double>(rest.size());
    for (double& r : rest) r -= fit.shift;
  }
  for (int i = 0; i < bits; ++i) {
    double sum = 0;
    for (const double r : rest) sum += std::fabs(r);
    fit.scales.push_back(sum / static_cast<double>(rest.size()));
    for (double& r : rest) r -= r >= 0 ? fit.scales.back() : -fit.scales.back();
  }
  return fit;
}

// The uniform grid without a zero, up to `fraction` of the largest magnitude: scales s 2^(bits-1), ..., 2 s, s.
Fit Uniform(absl::Span<const float> weights, int bits, double fraction, double shift) {
  double magnitude = 0;
  for (const float w : weights) magnitude = std::max(magnitude, std::fabs(static_cast<double>(w) - shift));
  Fit fit;
  fit.shift = shift;
  for (int i = bits - 1; i >= 0; --i) {
    fit.scales.push_back(fraction * magnitude * std::ldexp(1.0, i) / (std::ldexp(1.0, bits) - 1));
  }
  return fit;
}

class MultiBase : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const MultiBaseOptions& options) {
    if (options.iterations() < 1 || options.iterations() > 1000) {
      return FieldError("iterations", absl::StrCat("must be in [1, 1000], got ", options.iterations()));
    }
    return std::unique_ptr<Quantizer>(new MultiBase(options));
  }

  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    LOWBIT_RETURN_IF_ERROR(SupportsWeightsOnly(layer, role, bits));
    if (bits <= 8) return absl::OkStatus();
    return FieldError("bits", absl::StrCat("must be 1 to 8 for multi_base, got ", bits));
  }

 private:
  explicit MultiBase(const MultiBaseOptions& options)
      : shifted_(options.shifted()),
        iterations_(options.iterations()),
        per_tensor_(options.weight_granularity() == RangeOptions::PER_TENSOR) {}

  Fit Best(absl::Span<const float> weights, int bits) const {
    const Fit best = BestOf(weights, bits, false);
    if (!shifted_) return best;
    const Fit shifted = BestOf(weights, bits, true);
    const Fit from_best = Alternate(weights, best, true, iterations_);
    return from_best.error < shifted.error ? from_best : shifted;
  }

  Fit BestOf(absl::Span<const float> weights, int bits, bool shifted) const {
    const Fit greedy = Greedy(weights, bits, shifted);
    Fit best = Alternate(weights, greedy, shifted, iterations_);
    for (const double fraction : {1.0, 0.75, 0.5}) {
      const Fit other = Alternate(weights, Uniform(weights, bits, fraction, greedy.shift), shifted, iterations_);
      if (other.error < best.error) best = other;
    }
    return best;
  }

  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    const size_t groups = per_tensor_ ? 1 : static_cast<size_t>(view.weight.size(0));
    const size_t size = static_cast<size_t>(view.weight.numel()) / groups;
    const size_t bases = static_cast<size_t>(view.bits - 1);
    QuantParams params;
    params.bits = view.bits;
    params.scale.resize(groups);
    params.zero_point.resize(groups);
    params.bases.resize(groups * bases);
    ParallelFor(static_cast<int64_t>(groups), [&](int64_t group) {
      const size_t g = static_cast<size_t>(group);
      const Fit fit = Best(absl::MakeConstSpan(view.weight.data_ptr<float>() + g * size, size), view.bits);
      const double first = fit.scales[0];
      if (view.bits == 1) {
        // The uniform grid of one bit has levels -0.5 and 0.5 around its zero point.
        params.scale[g] = static_cast<float>(std::min(2 * first, kLargestScale));
        params.zero_point[g] = static_cast<float>(-0.5 - fit.shift / (2 * first));
        return;
      }
      params.scale[g] = static_cast<float>(std::min(first, kLargestScale));
      params.zero_point[g] = static_cast<float>(0 - fit.shift / first);
      for (size_t i = 0; i < bases; ++i) {
        params.bases[g * bases + i] = static_cast<float>(fit.scales[i + 1] / first);
      }
    });
    KeepValuesFinite(&params);
    at::Tensor codes = Quantize(view.weight, params);
    return QuantizedTensor{std::move(params), std::move(codes)};
  }

  const bool shifted_;
  const int iterations_;
  const bool per_tensor_;
};

LOWBIT_REGISTER_QUANTIZER("multi_base", MultiBaseOptions, MultiBase);

}  // namespace
}  // namespace lowbit
