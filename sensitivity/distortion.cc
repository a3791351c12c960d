#include "sensitivity/distortion.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
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

// log softmax of one image's logits.
std::vector<double> LogSoftmax(const float* logits, int64_t classes) {
  const double largest = *std::max_element(logits, logits + classes);
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) sum += std::exp(logits[k] - largest);
  const double log_sum = largest + std::log(sum);
  std::vector<double> result(static_cast<size_t>(classes));
  for (int64_t k = 0; k < classes; ++k) result[static_cast<size_t>(k)] = logits[k] - log_sum;
  return result;
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

absl::Status AnswerChange::Add(const at::Tensor& logits, const at::Tensor& changed) {
  LOWBIT_CHECK(logits.dim() == 2 && logits.sizes() == changed.sizes(), "logits of two shapes");
  const at::Tensor a = logits.contiguous();
  const at::Tensor b = changed.contiguous();
  const int64_t classes = a.size(1);
  AnswerChange sums;
  for (int64_t n = 0; n < a.size(0); ++n) {
    const float* const before = a.data_ptr<float>() + n * classes;
    const float* const after = b.data_ptr<float>() + n * classes;
    if (!std::all_of(after, after + classes, [](float x) { return std::isfinite(x); })) {
      return absl::InvalidArgumentError(absl::StrCat("the network's answer to image ", n, " is NaN or infinite"));
    }
    const std::vector<double> log_p = LogSoftmax(before, classes);
    const std::vector<double> log_q = LogSoftmax(after, classes);
    double kl = 0;
    for (size_t k = 0; k < log_p.size(); ++k) kl += std::exp(log_p[k]) * (log_p[k] - log_q[k]);
    sums.kl_sum += std::max(kl, 0.0);  // below 0 by rounding only
    sums.same +=
        std::max_element(before, before + classes) - before == std::max_element(after, after + classes) - after;
  }
  kl_sum += sums.kl_sum;
  same += sums.same;
  images += a.size(0);
  return absl::OkStatus();
}

}  // namespace lowbit
