#include "evaluation/mistakes.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

// exp(logit) / sum of exp(logits) for the largest logit, which stands at `largest`. The others, which may be tiny, are
// summed first.
double LargestSoftmax(absl::Span<const float> logits, size_t largest) {
  double others = 0;
  for (size_t k = 0; k < logits.size(); ++k) {
    if (k != largest) others += std::exp(static_cast<double>(logits[k]) - static_cast<double>(logits[largest]));
  }
  return 1 / (1 + others);
}

bool MoreConfident(const Mistake& a, const Mistake& b) {
  return a.confidence != b.confidence ? a.confidence > b.confidence : a.index < b.index;
}

}  // namespace

void MostConfidentMistakes::Add(absl::Span<const float> logits, absl::Span<const int32_t> labels,
                                absl::Span<const int64_t> indices) {
  if (count_ == 0 || labels.empty()) return;
  const size_t classes = logits.size() / labels.size();
  for (size_t i = 0; i < labels.size(); ++i) {
    const absl::Span<const float> row = logits.subspan(i * classes, classes);
    const auto largest = std::max_element(row.begin(), row.end()) - row.begin();  // the first of equal ones
    if (largest == labels[i]) continue;
    mistakes_.push_back(
        {indices[i], labels[i], static_cast<int32_t>(largest), LargestSoftmax(row, static_cast<size_t>(largest))});
  }
  std::sort(mistakes_.begin(), mistakes_.end(), MoreConfident);
  if (mistakes_.size() > static_cast<size_t>(count_)) mistakes_.resize(static_cast<size_t>(count_));
}

}  // namespace lowbit
