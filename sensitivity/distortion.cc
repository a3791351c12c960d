#include "sensitivity/distortion.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"
#include "quant/parallel_for.h"

namespace lowbit {
namespace {

constexpr int64_t kChunk = 1 << 16;

Distortion OfSpan(const float* x, const float* distorted, int64_t size) {
  Distortion sums;
  for (int64_t i = 0; i < size; ++i) {
    const double a = x[i];
    const double b = distorted[i];
    sums.signal += a * a;
    sums.noise += (a - b) * (a - b);
    sums.product += a * b;
    sums.energy += b * b;
  }
  return sums;
}

}  // namespace

void Distortion::Add(const at::Tensor& x, const at::Tensor& distorted) {
  LOWBIT_CHECK(x.sizes() == distorted.sizes(), "tensors of two shapes");
  at::Tensor a = x;
  at::Tensor b = distorted;
  // Numbers that belong together must lie at the same place; where they do already, in any order, nothing is copied.
  if (!(a.is_non_overlapping_and_dense() && a.strides() == b.strides())) {
    a = a.contiguous();
    b = b.contiguous();
  }
  const int64_t size = a.numel();
  std::vector<Distortion> parts(static_cast<size_t>((size + kChunk - 1) / kChunk));
  const float* const first = a.data_ptr<float>();
  const float* const second = b.data_ptr<float>();
  ParallelFor(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    const int64_t begin = i * kChunk;
    parts[static_cast<size_t>(i)] = OfSpan(first + begin, second + begin, std::min(kChunk, size - begin));
  });
  for (const Distortion& part : parts) {
    signal += part.signal;
    noise += part.noise;
    product += part.product;
    energy += part.energy;
  }
}

double Distortion::sqnr_db() const {
  if (noise == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

double Distortion::cosine() const {
  if (noise == 0) return 1;
  if (signal == 0 || energy == 0) return 0;
  return std::min(std::max(product / std::sqrt(signal * energy), -1.0), 1.0);
}

}  // namespace lowbit
