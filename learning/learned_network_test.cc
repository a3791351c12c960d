#include "learning/learned_network.h"

#include <ATen/ops/equal.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>

#include "gtest/gtest.h"
#include "learning/adam.h"
#include "learning/learning_testing.h"
#include "model/executor.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

at::Tensor RunQuantized(const QuantizedModel& model, const at::Tensor& x) {
  auto parameters = FakeQuantParameters(model);
  EXPECT_TRUE(parameters.ok()) << parameters.status();
  auto executor = Executor::Create(model.graph, *parameters);
  FakeQuantHook hook(model);
  auto y = executor->Forward(x, &hook);
  EXPECT_TRUE(y.ok()) << y.status();
  return *y;
}

std::unique_ptr<LearnedNetwork> Create(const Model& model, const QuantizedModel& start, LearnedNetworkOptions options) {
  auto network = LearnedNetwork::Create(model, start, options);
  EXPECT_TRUE(network.ok()) << network.status();
  return *std::move(network);
}

std::string Bytes(const QuantizedModel& model) { return SerializeQuantizedModel(model).value_or("?"); }

TEST(LearnedNetworkTest, BeforeLearningItIsTheQuantizedNetwork) {
  const Model model = SmallResidualModel();
  const at::Tensor x = Random({5, 2, 8, 8}, 50);
  for (const int bits : {2, 3, 4}) {
    const QuantizedModel start = RoundToNearest(model, bits);
    for (const auto rounding : {LearnedRounding::kAsChosen, LearnedRounding::kLatent, LearnedRounding::kDivided}) {
      LearnedNetworkOptions options;
      options.rounding = rounding;
      const auto network = Create(model, start, options);
      network->Write();
      const auto y = network->Forward(x, {});
      ASSERT_TRUE(y.ok()) << y.status();
      EXPECT_TRUE(y->detach().allclose(RunQuantized(start, x), 1e-4, 1e-5)) << bits;
      const auto hard = network->Harden();
      ASSERT_TRUE(hard.ok()) << hard.status();
      EXPECT_TRUE(Bytes(*hard) == Bytes(start)) << bits;
      EXPECT_EQ(network->Count().flipped, 0);
    }
  }
}

TEST(LearnedNetworkTest, ActivationsCanStayFloat) {
  const Model model = SmallResidualModel();
  QuantizedModel start = RoundToNearest(model, 2);
  LearnedNetworkOptions options;
  options.rounding = LearnedRounding::kAsChosen;
  const auto network = Create(model, start, options);
  network->Write();
  const at::Tensor x = Random({5, 2, 8, 8}, 51);
  const auto y = network->Forward(x, {1, 3});
  ASSERT_TRUE(y.ok()) << y.status();
  start.activations.clear();
  EXPECT_TRUE(y->detach().allclose(RunQuantized(start, x), 1e-4, 1e-5));
}

TEST(LearnedNetworkTest, WhatIsNotLearnedHasNoLeaves) {
  const Model model = SmallResidualModel();
  const QuantizedModel start = RoundToNearest(model, 4);
  LearnedNetworkOptions options;
  EXPECT_EQ(Create(model, start, options)->roundings().size(), 4u);
  EXPECT_EQ(Create(model, start, options)->activation_scales().size(), 3u);
  EXPECT_EQ(Create(model, start, options)->biases().size(), 4u);
  options = {LearnedRounding::kAsChosen, 0, false, false, false};
  const auto none = Create(model, start, options);
  EXPECT_TRUE(none->roundings().empty() && none->weight_scales().empty() && none->activation_scales().empty() &&
              none->biases().empty());
}

// A few steps towards other answers: the loss falls, and what is hardened gives what was learned.
TEST(LearnedNetworkTest, LearnsAndHardens) {
  const Model model = SmallResidualModel();
  const QuantizedModel start = RoundToNearest(model, 4);
  LearnedNetworkOptions options;
  options.rounding = LearnedRounding::kLatent;
  const auto network = Create(model, start, options);
  Optimizer rounding(PlainAdam(), network->roundings()), weight_scales(PlainAdam(), network->weight_scales()),
      scales(PlainAdam(), network->activation_scales()), biases(PlainAdam(), network->biases());
  const at::Tensor x = Random({16, 2, 8, 8}, 52), target = Random({16, 3}, 53);
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    network->Write();
    const auto y = network->Forward(x, {});
    ASSERT_TRUE(y.ok()) << y.status();
    const at::Tensor loss = y->sub(target).pow(2).mean();
    last = loss.item<double>();
    if (step == 0) first = last;
    loss.backward();
    network->Back();
    for (Optimizer* optimizer : {&rounding, &weight_scales, &scales, &biases}) optimizer->Step(0.02);
    network->KeepScales();
  }
  EXPECT_LT(last, 0.9 * first);
  EXPECT_GT(network->Count().flipped, 0);
  EXPECT_EQ(network->Count().roundings, 2 * 6 * 9 + 2 * 6 * 6 * 9 + 18);
  const auto hard = network->Harden();
  ASSERT_TRUE(hard.ok()) << hard.status();
  network->Write();
  const auto y = network->Forward(x, {});
  EXPECT_TRUE(y->detach().allclose(RunQuantized(*hard, x), 1e-3, 1e-4));
  // From here on weights and biases stay.
  network->FreezeWeights();
  network->Write();
  EXPECT_TRUE(network->Forward(x, {})->detach().allclose(RunQuantized(*hard, x), 1e-3, 1e-4));
  EXPECT_TRUE(Bytes(*network->Harden()) == Bytes(*hard));
}

TEST(LearnedNetworkTest, RegularizeAddsUpOverTheWeights) {
  const Model model = SmallResidualModel();
  const auto network = Create(model, RoundToNearest(model, 3), {});
  network->Write();
  const auto y = network->Forward(Random({2, 2, 8, 8}, 54), {});
  y->sum().backward();
  network->Back();
  const double sum = network->Regularize(0.1, 20);
  EXPECT_GT(sum, 0);
  EXPECT_LE(sum, static_cast<double>(network->Count().roundings));
}

}  // namespace
}  // namespace lowbit
