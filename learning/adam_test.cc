#include "learning/adam.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(CosineFactorTest, FromOneToZero) {
  EXPECT_DOUBLE_EQ(CosineFactor(0, 12), 1);
  EXPECT_NEAR(CosineFactor(4, 12), 0.75, 1e-12);
  EXPECT_NEAR(CosineFactor(6, 12), 0.5, 1e-12);
  EXPECT_NEAR(CosineFactor(12, 12), 0, 1e-12);
}

// Its first step goes as far as the rate says, whatever the gradient's size, and no weight decays.
TEST(PlainAdamTest, FirstStep) {
  const at::Tensor x = at::tensor({1.0f, 100.0f, -5.0f}).set_requires_grad(true);
  x.mutable_grad() = at::tensor({3.0f, -1e-3f, 0.0f});
  Optimizer(PlainAdam(), {{"x", x}}).Step(0.25);
  EXPECT_NEAR(x.data_ptr<float>()[0], 0.75, 1e-5);
  EXPECT_NEAR(x.data_ptr<float>()[1], 100.25, 1e-5);
  EXPECT_EQ(x.data_ptr<float>()[2], -5);
}

}  // namespace
}  // namespace lowbit
