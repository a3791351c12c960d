#include "learning/answer_divergence.h"

#include <ATen/ops/tensor.h>

#include <cmath>

#include "evaluation/answer_change.h"
#include "gtest/gtest.h"
#include "model/model_testing.h"

namespace lowbit {
namespace {

// p = (1/2, 1/2), q = (1/4, 3/4), and an image whose answers are the same.
TEST(AnswerDivergenceTest, ByHand) {
  const at::Tensor wanted = at::tensor({0.0f, 0.0f, 5.0f, -1.0f}).reshape({2, 2});
  const at::Tensor logits = at::tensor({0.0f, std::log(3.0f), 6.0f, 0.0f}).reshape({2, 2});
  const double kl = 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3);
  EXPECT_NEAR(AnswerDivergence(logits, wanted, 1).item<double>(), kl / 2, 1e-6);
  // Twice the logits at twice the temperature are the same.
  EXPECT_NEAR(AnswerDivergence(logits.mul(2), wanted.mul(2), 2).item<double>(), kl / 2, 1e-6);
}

TEST(AnswerDivergenceTest, IsWhatAnswerChangeMeasures) {
  const at::Tensor wanted = Random({9, 7}, 1), logits = Random({9, 7}, 2);
  AnswerChange change;
  ASSERT_TRUE(change.Add(wanted, logits).ok());
  EXPECT_NEAR(AnswerDivergence(logits, wanted, 1).item<double>(), change.kl(), 1e-5);
}

}  // namespace
}  // namespace lowbit
