#include "quant/layer_regression.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "base/random.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
  return x;
}

// x = 0, 1, 2 and t = 1, 2, 6: slope 2.5, intercept 0.5, and what is left is 1.5 of a variance of 14 (sums over three).
// With the ridge d = 1 * Var(x) = 2/3 towards W0 = 1: W = 1 + (5/3 - 2/3) / (2/3 + 2/3) = 1.75.
TEST(LayerRegressionTest, HandComputed) {
  LayerRegression regression(Linear{1, 1, true});
  const at::Tensor x = at::tensor({0.0f, 1.0f, 2.0f}).view({3, 1});
  const at::Tensor t = at::tensor({1.0f, 2.0f, 6.0f}).view({3, 1});
  ASSERT_TRUE(regression.Observe(x, t).ok());
  const at::Tensor given = at::full({1, 1}, 1.0f);
  const auto exact = regression.FitWeight(given, 0);
  ASSERT_TRUE(exact.ok()) << exact.status();
  EXPECT_NEAR(exact->item<float>(), 2.5, 1e-6);
  EXPECT_NEAR(regression.FitBias(*exact).item<float>(), 0.5, 1e-6);
  EXPECT_NEAR(regression.RelativeError(*exact, regression.FitBias(*exact)), 1.5 / 14, 1e-6);
  EXPECT_NEAR(regression.FitWeight(given, 1)->item<float>(), 1.75, 1e-6);
  EXPECT_NEAR(regression.FitBias(given).item<float>(), 2, 1e-6);
  EXPECT_NEAR(regression.Moments().Gram().item<double>(), 2.0 / 3, 1e-9);
}

// Without a bias: W = E t x / E x^2 = (14/3) / (5/3).
TEST(LayerRegressionTest, WithoutABias) {
  LayerRegression regression(Linear{1, 1, false});
  ASSERT_TRUE(
      regression.Observe(at::tensor({0.0f, 1.0f, 2.0f}).view({3, 1}), at::tensor({1.0f, 2.0f, 6.0f}).view({3, 1}))
          .ok());
  EXPECT_NEAR(regression.FitWeight(at::full({1, 1}, 1.0f), 0)->item<float>(), 2.8, 1e-6);
  EXPECT_NEAR(regression.Moments().Gram().item<double>(), 5.0 / 3, 1e-9);
}

// A layer that is asked for its own output is left as it is; one that reads a distorted input makes up for it.
TEST(LayerRegressionTest, FindsTheLayerThatMadeTheTarget) {
  Conv2d conv;
  conv.in_channels = 4;
  conv.out_channels = 6;
  conv.kernel = {3, 3};
  conv.padding = {1, 1};
  conv.groups = 2;
  conv.bias = true;
  const at::Tensor x = Normal({200, 4, 6, 6}, 1).clamp_min(0);
  const at::Tensor weight = Normal({6, 2, 3, 3}, 2);
  const at::Tensor bias = Normal({6}, 3);
  const at::Tensor t = at::convolution(x, weight, bias, {1, 1}, {1, 1}, {1, 1}, false, {0, 0}, 2);
  LayerRegression regression(conv), distorted(conv);
  ASSERT_TRUE(regression.Observe(x, t).ok());
  const auto same = regression.FitWeight(weight, 0.01);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_TRUE(at::allclose(*same, weight, 1e-3, 1e-3));
  EXPECT_TRUE(at::allclose(regression.FitBias(*same), bias, 1e-3, 1e-3));
  EXPECT_LT(regression.RelativeError(weight, bias), 1e-6);
  EXPECT_GT(regression.RelativeError(at::zeros({6, 2, 3, 3}), bias), 0.99);
  const auto found = regression.FitWeight(at::zeros({6, 2, 3, 3}), 1e-9);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(at::allclose(*found, weight, 1e-2, 1e-2));

  // Twice the input: half the weight does.
  ASSERT_TRUE(distorted.Observe(x * 2, t).ok());
  const auto half = distorted.FitWeight(weight, 1e-9);
  ASSERT_TRUE(half.ok()) << half.status();
  EXPECT_TRUE(at::allclose(*half * 2, weight, 1e-2, 1e-2));
}

// Whatever the weight, with its bias the mean of each output is that of the target.
TEST(LayerRegressionTest, BiasesMeetTheMean) {
  LayerRegression regression(Linear{5, 3, true});
  const at::Tensor x = Normal({100, 5}, 4), t = Normal({100, 3}, 5), weight = Normal({3, 5}, 6);
  ASSERT_TRUE(regression.Observe(x, t).ok());
  const at::Tensor y = at::linear(x, weight, regression.FitBias(weight));
  EXPECT_TRUE(at::allclose(y.mean(0), t.mean(0), 1e-4, 1e-5));
}

TEST(LayerRegressionTest, InputsThatSayNothingLeaveTheWeight) {
  LayerRegression regression(Linear{3, 2, true});
  const at::Tensor weight = Normal({2, 3}, 7);
  ASSERT_TRUE(regression.Observe(at::full({10, 3}, 2.0f), Normal({10, 2}, 8)).ok());
  const auto fitted = regression.FitWeight(weight, 0.01);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_TRUE(at::allclose(*fitted, weight, 1e-3, 1e-3));
}

TEST(LayerRegressionTest, RefusesNaN) {
  LayerRegression regression(Linear{1, 1, true});
  const at::Tensor good = at::full({2, 1}, 1.0f);
  const at::Tensor bad = at::full({2, 1}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(regression.Observe(good, bad).message(), "2 of 2 values of the target are NaN or infinite");
  EXPECT_EQ(regression.Observe(bad, good).message(), "2 of 2 values are NaN or infinite");
  EXPECT_EQ(regression.images(), 0);
  // Nothing of the images before it either, though they are more than are multiplied at a time.
  at::Tensor late = at::full({100, 1}, 1.0f);
  late[90][0] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(regression.Observe(late, at::full({100, 1}, 1.0f)).message(), "1 of 100 values are NaN or infinite");
  EXPECT_EQ(regression.images(), 0);
}

// x = 0, 1e25, 2e25 and t = 1e25, 2e25, 6e25, whose products float32 does not have: slope and what is left as above.
TEST(LayerRegressionTest, HugeNumbersStayFinite) {
  LayerRegression regression(Linear{1, 1, true});
  ASSERT_TRUE(
      regression.Observe(at::tensor({0.0f, 1e25f, 2e25f}).view({3, 1}), at::tensor({1e25f, 2e25f, 6e25f}).view({3, 1}))
          .ok());
  const auto weight = regression.FitWeight(at::full({1, 1}, 1.0f), 0);
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_NEAR(weight->item<float>(), 2.5, 1e-6);
  const at::Tensor bias = regression.FitBias(*weight);
  EXPECT_NEAR(bias.item<float>() / 1e25, 0.5, 1e-6);
  EXPECT_NEAR(regression.RelativeError(*weight, bias), 1.5 / 14, 1e-6);
}

// One of the two is enough: 3e37 * 100 is too much for float32.
TEST(LayerRegressionTest, HugeTargetsStayFinite) {
  LayerRegression regression(Linear{1, 1, false});
  ASSERT_TRUE(regression.Observe(at::full({2, 1}, 100.0f), at::full({2, 1}, 3e37f)).ok());
  const auto weight = regression.FitWeight(at::full({1, 1}, 1.0f), 0);
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_NEAR(weight->item<float>() / 3e35, 1, 1e-6);
}

}  // namespace
}  // namespace lowbit
