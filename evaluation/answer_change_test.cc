#include "evaluation/answer_change.h"

#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

at::Tensor Logits(const std::vector<float>& values, int64_t classes) { return at::tensor(values).view({-1, classes}); }

// p = (1/2, 1/2), q = (1/4, 3/4): 1/2 log 2 + 1/2 log (2/3). The first image's class stays, with the tie going to the
// first.
TEST(AnswerChangeTest, ByHand) {
  const float log3 = std::log(3.0f);
  AnswerChange change;
  ASSERT_TRUE(change.Add(Logits({0, 0, 2, 1}, 2), Logits({0, log3, 2, 1}, 2)).ok());
  EXPECT_EQ(change.images, 2);
  EXPECT_NEAR(change.kl(), (0.5 * std::log(2) + 0.5 * std::log(2.0 / 3)) / 2, 1e-7);
  EXPECT_EQ(change.same_top1(), 0.5);
  ASSERT_TRUE(change.Add(Logits({5, 1}, 2), Logits({5, 1}, 2)).ok());
  EXPECT_EQ(change.images, 3);
  EXPECT_EQ(change.same, 2);
}

TEST(AnswerChangeTest, LargeLogitsDoNotOverflow) {
  AnswerChange change;
  ASSERT_TRUE(change.Add(Logits({1e30f, 0, -1e30f}, 3), Logits({1e30f, 1e29f, 0}, 3)).ok());
  EXPECT_EQ(change.kl(), 0);
}

TEST(AnswerChangeTest, NothingIsTakenOverWithNaN) {
  AnswerChange change;
  const auto status = change.Add(Logits({0, 1, 0, 1}, 2), Logits({0, 1, 0, std::nanf("")}, 2));
  EXPECT_EQ(status.message(), "the network's answer to image 1 is NaN or infinite");
  EXPECT_EQ(change.images, 0);
  ASSERT_TRUE(change.Add(Logits({0, 1, 0, 1, 2, 3}, 2), Logits({0, 1, 0, 1, 2, 3}, 2)).ok());
  EXPECT_EQ(change.Add(Logits({0, 1, 0, 1}, 2), Logits({0, 1, 0, std::nanf("")}, 2)).message(),
            "the network's answer to image 4 is NaN or infinite");
  EXPECT_EQ(change.images, 3);
}

}  // namespace
}  // namespace lowbit
