#include "train/optimizer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

// One weight matrix of a single number and one bias, with the gradients that are given.
struct Pair1 {
  at::Tensor weight = at::full({1, 1}, 1.0f).set_requires_grad(true);
  at::Tensor bias = at::full({1}, 2.0f).set_requires_grad(true);
  ParameterMap map() const { return {{"fc.weight", weight}, {"fc.bias", bias}}; }
  void SetGradients(float of_weight, float of_bias) {
    weight.mutable_grad() = at::full({1, 1}, of_weight);
    bias.mutable_grad() = at::full({1}, of_bias);
  }
};

TEST(OptimizerTest, SgdWithMomentumAndDecayTakesTheStepsComputedByHand) {
  TrainConfig config;
  config.mutable_sgd()->set_momentum(0.5);
  config.set_weight_decay(0.1);
  config.set_decay_bias_and_norm(false);
  Pair1 p;
  Optimizer optimizer(config, p.map());
  p.SetGradients(0.4f, 1.0f);
  optimizer.Step(0.1);
  EXPECT_FLOAT_EQ(p.weight.item<float>(), 0.95f);  // g = 0.4 + 0.1 * 1 = v;  1 - 0.1 * 0.5
  EXPECT_FLOAT_EQ(p.bias.item<float>(), 1.9f);     // no decay
  EXPECT_FALSE(p.weight.grad().defined());
  p.SetGradients(0.0f, 0.0f);
  optimizer.Step(0.1);
  EXPECT_FLOAT_EQ(p.weight.item<float>(), 0.9155f);  // v = 0.5 * 0.5 + 0.095 = 0.345
  EXPECT_FLOAT_EQ(p.bias.item<float>(), 1.85f);      // v = 0.5
}

TEST(OptimizerTest, NesterovLooksAhead) {
  TrainConfig config;
  config.mutable_sgd()->set_momentum(0.5);
  config.mutable_sgd()->set_nesterov(true);
  config.set_weight_decay(0);
  Pair1 p;
  Optimizer optimizer(config, p.map());
  p.SetGradients(0.4f, 0.0f);
  optimizer.Step(0.1);
  EXPECT_FLOAT_EQ(p.weight.item<float>(), 0.94f);  // 1 - 0.1 * (0.4 + 0.5 * 0.4)
}

TEST(OptimizerTest, AdamsFirstStepIsTheLearningRateWhateverTheGradient) {
  TrainConfig config;
  config.mutable_adam();
  config.set_weight_decay(0);
  Pair1 p;
  Optimizer optimizer(config, p.map());
  p.SetGradients(123.0f, -0.01f);
  optimizer.Step(0.1);
  EXPECT_NEAR(p.weight.item<float>(), 0.9f, 1e-6);
  EXPECT_NEAR(p.bias.item<float>(), 2.1f, 1e-5);
  p.SetGradients(0.0f, 0.0f);
  optimizer.Step(0.1);
  // mean = 0.9 * 12.3 / (1 - 0.81), mean square = 0.999 * 15.129 / (1 - 0.998001): 0.1 * 58.263 / 86.952
  EXPECT_NEAR(p.weight.item<float>(), 0.9 - 0.1 * (11.07 / 0.19) / std::sqrt(15.113871 / 0.001999), 1e-6);
}

TEST(OptimizerTest, DecoupledDecayShrinksTheWeightByItself) {
  TrainConfig config;
  config.mutable_adam()->set_decoupled_weight_decay(true);
  config.set_weight_decay(0.5);
  Pair1 p;
  Optimizer optimizer(config, p.map());
  p.SetGradients(0.0f, 0.0f);
  optimizer.Step(0.1);
  EXPECT_FLOAT_EQ(p.weight.item<float>(), 0.95f);
}

TEST(OptimizerTest, RestoredStateGoesOnAsIfNeverStopped) {
  TrainConfig config;
  config.mutable_adam();
  Pair1 one, other;
  Optimizer straight(config, one.map());
  for (float g : {1.0f, -2.0f, 0.5f}) {
    one.SetGradients(g, g);
    straight.Step(0.01);
  }
  {
    Optimizer first(config, other.map());
    other.SetGradients(1.0f, 1.0f);
    first.Step(0.01);
    ParameterMap saved = CloneParameters(first.slots());
    Optimizer second(config, other.map());
    ASSERT_TRUE(second.Restore(saved, first.steps()).ok());
    for (float g : {-2.0f, 0.5f}) {
      other.SetGradients(g, g);
      second.Step(0.01);
    }
  }
  EXPECT_EQ(one.weight.item<float>(), other.weight.item<float>());
  EXPECT_EQ(one.bias.item<float>(), other.bias.item<float>());
}

TEST(OptimizerTest, RestoreRefusesAnotherOptimizersState) {
  Pair1 p;
  TrainConfig sgd;
  TrainConfig adam;
  adam.mutable_adam();
  Optimizer optimizer(sgd, p.map());
  EXPECT_EQ(optimizer.Restore(Optimizer(adam, p.map()).slots(), 1).message(),
            "optimizer state \"fc.bias/momentum\" is missing; was it saved by another optimizer?");
  ParameterMap slots = optimizer.slots();
  slots["fc.weight/momentum"] = at::zeros({2, 3});
  EXPECT_EQ(optimizer.Restore(slots, 1).message(),
            "optimizer state \"fc.weight/momentum\" has shape [2, 3], wanted [1, 1]");
}

}  // namespace
}  // namespace lowbit
