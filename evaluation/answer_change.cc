#include "evaluation/answer_change.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lowbit {
namespace {

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
      return absl::InvalidArgumentError(
          absl::StrCat("the network's answer to image ", images + n, " is NaN or infinite"));
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
