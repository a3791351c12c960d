#ifndef LOWBIT_LEARNING_ANSWER_DIVERGENCE_H_
#define LOWBIT_LEARNING_ANSWER_DIVERGENCE_H_

#include <ATen/core/Tensor.h>

namespace lowbit {

// KL divergence of softmax(logits / T) from softmax(wanted / T), mean over the images, in nats: a number that autograd
// can go back from. Both [N, classes].
at::Tensor AnswerDivergence(const at::Tensor& logits, const at::Tensor& wanted, double temperature);

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_ANSWER_DIVERGENCE_H_
