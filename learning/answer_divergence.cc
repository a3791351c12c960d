#include "learning/answer_divergence.h"

#include <ATen/ops/kl_div.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>

namespace lowbit {

at::Tensor AnswerDivergence(const at::Tensor& logits, const at::Tensor& wanted, double temperature) {
  return at::kl_div(at::log_softmax(logits.div(temperature), 1), at::softmax(wanted.div(temperature), 1),
                    at::Reduction::Sum)
      .div(logits.size(0));
}

}  // namespace lowbit
