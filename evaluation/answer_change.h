#ifndef LOWBIT_EVALUATION_ANSWER_CHANGE_H_
#define LOWBIT_EVALUATION_ANSWER_CHANGE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/status.h"

namespace lowbit {

// How far the answers of a network are from those of the float network.
struct AnswerChange {
  double kl_sum = 0;
  int64_t same = 0;
  int64_t images = 0;

  // Logits [N, classes], float32. For each image KL(p || q) = sum_k p_k (log p_k - log q_k), in nats, with p the
  // softmax of `logits` and q that of `changed`; and whether both have their largest logit, the first of equal ones, at
  // the same class. InvalidArgument, with nothing taken over, if one of `changed` is NaN or infinite: "the network's
  // answer to image 70 is NaN or infinite", counted from 0 over all that was added.
  absl::Status Add(const at::Tensor& logits, const at::Tensor& changed);

  double kl() const { return kl_sum / static_cast<double>(images); }
  double same_top1() const { return static_cast<double>(same) / static_cast<double>(images); }
};

}  // namespace lowbit

#endif  // LOWBIT_EVALUATION_ANSWER_CHANGE_H_
