#ifndef LOWBIT_EVALUATION_MISTAKES_H_
#define LOWBIT_EVALUATION_MISTAKES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace lowbit {

// An image that was taken for a class that is not its own.
struct Mistake {
  int64_t index = 0;  // in the data set
  int32_t label = 0;
  int32_t prediction = 0;
  double confidence = 0;  // what softmax gives the prediction
};

// Keeps the mistakes that the network was most sure of. Those of equal confidence come in the order of their indices,
// so that it does not matter how the images were split in batches.
class MostConfidentMistakes {
 public:
  // Keeps at most `count`.
  explicit MostConfidentMistakes(int count) : count_(count) {}

  // `logits`: [n, classes], row by row, none of them NaN or infinite; `labels` and `indices`: [n]. As in
  // ClassificationMetrics the lower class is the prediction where logits are equal.
  void Add(absl::Span<const float> logits, absl::Span<const int32_t> labels, absl::Span<const int64_t> indices);

  // The most confident one first.
  const std::vector<Mistake>& mistakes() const { return mistakes_; }

 private:
  const int count_;
  std::vector<Mistake> mistakes_;
};

}  // namespace lowbit

#endif  // LOWBIT_EVALUATION_MISTAKES_H_
