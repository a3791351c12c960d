#include "quant/gram_inverse.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "base/random.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

// x^T x / n of n normal rows.
at::Tensor RandomGram(int64_t rows, int64_t size, uint64_t seed) {
  at::Tensor x = at::empty({rows, size}, at::kDouble);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<double>()[i] = rng.Normal();
  return at::matmul(x.t(), x) / static_cast<double>(rows);
}

at::Tensor Identity(int64_t size) { return at::eye(size, at::TensorOptions(at::kDouble)); }

// [[2, 1], [1, 1]] has the inverse [[1, -1], [-1, 2]] = U^T U with U = [[1, -1], [0, 1]].
TEST(InverseGramFactorTest, HandComputed) {
  const at::Tensor gram = at::tensor({2.0, 1.0, 1.0, 1.0}, at::kDouble).view({2, 2});
  const auto factor = InverseGramFactor(gram, 0);
  ASSERT_TRUE(factor.ok()) << factor.status();
  EXPECT_TRUE(at::allclose(*factor, at::tensor({1.0, -1.0, 0.0, 1.0}, at::kDouble).view({2, 2}), 1e-12, 1e-12));
}

TEST(InverseGramFactorTest, ItsSquareIsTheInverse) {
  for (const double scale : {1.0, 1e-40, 1e60}) {
    const at::Tensor gram = RandomGram(300, 40, 1) * scale;
    const auto factor = InverseGramFactor(gram, 0.1);
    ASSERT_TRUE(factor.ok()) << factor.status();
    EXPECT_TRUE(at::equal(*factor, factor->triu()));
    const at::Tensor damped = gram + Identity(40) * (0.1 * gram.diagonal().mean());
    EXPECT_TRUE(at::allclose(at::matmul(at::matmul(factor->t(), *factor), damped), Identity(40), 1e-8, 1e-8));
  }
}

TEST(InverseGramFactorTest, RaisesTheDampingWhereItDoesNotSuffice) {
  for (const at::Tensor& gram : {RandomGram(5, 40, 2), at::full({40, 40}, 3.0, at::kDouble)}) {
    const auto factor = InverseGramFactor(gram, 0);
    ASSERT_TRUE(factor.ok()) << factor.status();
    EXPECT_TRUE(at::isfinite(*factor).all().item<bool>());
    // With 1e-10, the first one after 0.
    const at::Tensor damped = gram + Identity(40) * (1e-10 * gram.diagonal().mean());
    EXPECT_TRUE(at::allclose(at::matmul(at::matmul(factor->t(), *factor), damped), Identity(40), 1e-3, 1e-3));
  }
}

TEST(InverseGramFactorTest, DeadInputsStandAlone) {
  at::Tensor gram = RandomGram(100, 6, 3);
  gram[2].zero_();
  gram.select(1, 2).zero_();
  const auto factor = InverseGramFactor(gram, 0);
  ASSERT_TRUE(factor.ok()) << factor.status();
  for (int64_t i = 0; i < 6; ++i) {
    if (i == 2) continue;
    EXPECT_EQ((*factor)[2][i].item<double>(), 0);
    EXPECT_EQ((*factor)[i][2].item<double>(), 0);
  }
  EXPECT_NEAR((*factor)[2][2].item<double>(), 1 / std::sqrt(gram.diagonal().mean().item<double>()), 1e-12);
  const auto nothing = InverseGramFactor(at::zeros({3, 3}, at::kDouble), 0);
  ASSERT_TRUE(nothing.ok());
  EXPECT_TRUE(at::equal(*nothing, Identity(3)));
}

TEST(InverseGramFactorTest, SaysWhatToDoWhereNothingHelps) {
  // No Gram matrix: an eigenvalue of -1e6 against a mean diagonal of 1.
  at::Tensor none = at::tensor({1.0, 1e6, 1e6, 1.0}, at::kDouble).view({2, 2});
  EXPECT_EQ(InverseGramFactor(none, 0.01).status().message(),
            "the Gram matrix of the inputs cannot be inverted, with no damping up to 1000 of its mean diagonal; "
            "calibrate on more images, or take a quantizer that does without it");
  none[0][0] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(InverseGramFactor(none, 0.01).status().message(), "the Gram matrix of the inputs is not finite");
}

}  // namespace
}  // namespace lowbit
