#include "learning/learned_fake_quantize.h"

#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

#include "gtest/gtest.h"
#include "model/model_testing.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

QuantParams Uniform(int bits, bool is_signed, float scale, float zero_point) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.scale = {scale};
  params.zero_point = {zero_point};
  return params;
}

QuantParams Levels() {
  QuantParams params = Uniform(3, false, 0.25f, 0);
  params.levels = {0, 1, 2, 4, 8};
  return params;
}

std::vector<QuantParams> AllKinds() {
  return {Uniform(4, false, 0.1f, 0), Uniform(3, true, 0.2f, 0), Uniform(4, false, 0.1f, 5), SignParams({0.7f}),
          Levels()};
}

at::Tensor Scale(float value) { return at::full({1}, value, at::kFloat).set_requires_grad(true); }

TEST(LearnedFakeQuantizeTest, PutsOutWhatFakeQuantizePutsOut) {
  for (const QuantParams& params : AllKinds()) {
    for (const auto order : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      const at::Tensor x = Random({3, 5, 7, 11}, 1).contiguous(order);
      const at::Tensor scale = Scale(params.scale[0]);
      const at::Tensor y = LearnedFakeQuantize(x, scale, params, /*relu=*/false, {});
      EXPECT_TRUE(at::equal(y, FakeQuantize(x, params))) << params.bits;
      EXPECT_EQ(y.strides(), x.strides());
      EXPECT_TRUE(at::equal(LearnedFakeQuantize(x, scale, params, true, {}), FakeQuantize(at::relu(x), params)));
    }
  }
}

// 2 bits, unsigned, scale 0.5: {0, 0.5, 1, 1.5}.
TEST(LearnedFakeQuantizeTest, GradientsByHand) {
  const at::Tensor x = at::tensor({-1.0f, 0.3f, 1.2f, 9.0f}).set_requires_grad(true);
  const at::Tensor scale = Scale(0.5f);
  const at::Tensor y = LearnedFakeQuantize(x, scale, Uniform(2, false, 123, 0), /*relu=*/true, {});
  EXPECT_TRUE(at::equal(y.detach(), at::tensor({0.0f, 0.5f, 1.0f, 1.5f})));
  torch::autograd::backward({y}, {at::tensor({1.0f, 10.0f, 100.0f, 1000.0f})});
  EXPECT_TRUE(at::equal(x.grad(), at::tensor({0.0f, 10.0f, 100.0f, 0.0f})));
  // q - x / scale inside, q outside: 1 - 0.6, 2 - 2.4, 3.
  EXPECT_NEAR(scale.grad().item<float>(), 10 * 0.4 - 100 * 0.4 + 1000 * 3, 1e-3);
}

// Levels {0, 1, 2, 4, 8} of 0.25.
TEST(LearnedFakeQuantizeTest, GradientsOfLevelsByHand) {
  const at::Tensor x = at::tensor({-1.0f, 0.7f, 5.0f}).set_requires_grad(true);
  const at::Tensor scale = Scale(0.25f);
  const at::Tensor y = LearnedFakeQuantize(x, scale, Levels(), /*relu=*/false, {});
  EXPECT_TRUE(at::equal(y.detach(), at::tensor({0.0f, 0.5f, 2.0f})));
  torch::autograd::backward({y}, {at::tensor({1.0f, 10.0f, 100.0f})});
  EXPECT_TRUE(at::equal(x.grad(), at::tensor({0.0f, 10.0f, 0.0f})));
  EXPECT_NEAR(scale.grad().item<float>(), 10 * (2 - 2.8) + 100 * 8, 1e-3);
}

// One bit has the values -0.5 and 0.5 here: half a step beyond them still counts as inside.
TEST(LearnedFakeQuantizeTest, OneBitLetsGradientsThroughHalfAStepBeyond) {
  const at::Tensor x = at::tensor({-0.9f, 0.9f, 1.1f}).set_requires_grad(true);
  const at::Tensor scale = Scale(1);
  const at::Tensor y = LearnedFakeQuantize(x, scale, SignParams({0.5f}), /*relu=*/false, {});
  EXPECT_TRUE(at::equal(y.detach(), at::tensor({-0.5f, 0.5f, 0.5f})));
  torch::autograd::backward({y}, {at::tensor({1.0f, 10.0f, 100.0f})});
  EXPECT_TRUE(at::equal(x.grad(), at::tensor({1.0f, 10.0f, 0.0f})));
  EXPECT_NEAR(scale.grad().item<float>(), 1 * (-0.5 + 0.9) + 10 * (0.5 - 0.9) + 100 * 0.5, 1e-3);
}

TEST(LearnedFakeQuantizeTest, WhatStaysFloatPassesValuesAndGradients) {
  for (const QuantParams& params : AllKinds()) {
    const at::Tensor x = Random({4, 6, 9, 9}, 2).mul(3).set_requires_grad(true);
    const RandomFloat half{0.5, 77};
    const at::Tensor scale = Scale(params.scale[0]);
    const at::Tensor y = LearnedFakeQuantize(x, scale, params, false, half);
    const at::Tensor quantized = FakeQuantize(x.detach(), params);
    const at::Tensor kept = y.detach().eq(x.detach()).logical_and(y.detach().ne(quantized));
    EXPECT_TRUE(at::equal(y.detach(), at::where(kept, x.detach(), quantized)));
    EXPECT_NEAR(kept.to(at::kDouble).mean().item<double>(), 0.5, 0.05);
    const at::Tensor g = Random({4, 6, 9, 9}, 3);
    torch::autograd::backward({y}, {g});
    EXPECT_TRUE(at::equal(x.grad().masked_select(kept), g.masked_select(kept)));
    // The same seed chooses the same ones, another others.
    EXPECT_TRUE(at::equal(LearnedFakeQuantize(x.detach(), scale, params, false, half).detach(), y.detach()));
    EXPECT_FALSE(at::equal(LearnedFakeQuantize(x.detach(), scale, params, false, {0.5, 78}).detach(), y.detach()));
    EXPECT_TRUE(at::equal(LearnedFakeQuantize(x.detach(), scale, params, true, {1, 5}).detach(), at::relu(x.detach())));
  }
}

TEST(LearnedFakeQuantizeTest, TheNumberOfThreadsChangesNothing) {
  const int threads = at::get_num_threads();
  const auto run = [](int count) {
    at::set_num_threads(count);
    const at::Tensor x = Random({8, 16, 21, 21}, 4).set_requires_grad(true);
    const at::Tensor scale = Scale(0.1f);
    const at::Tensor y = LearnedFakeQuantize(x, scale, Uniform(4, false, 0.1f, 0), true, {0.5, 9});
    torch::autograd::backward({y}, {Random({8, 16, 21, 21}, 5)});
    return std::vector<at::Tensor>{y.detach(), x.grad(), scale.grad()};
  };
  const auto one = run(1), three = run(3);
  at::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], three[i])) << i;
}

// A gradient that comes in another memory order than x.
TEST(LearnedFakeQuantizeTest, GradientsInAnotherMemoryOrder) {
  const at::Tensor x = Random({2, 3, 4, 5}, 6).contiguous(at::MemoryFormat::ChannelsLast).set_requires_grad(true);
  const at::Tensor scale = Scale(10);
  const at::Tensor y = LearnedFakeQuantize(x, scale, Uniform(8, true, 10, 0), false, {});
  const at::Tensor g = Random({2, 3, 4, 5}, 7);
  torch::autograd::backward({y}, {g});
  EXPECT_TRUE(at::equal(x.grad(), g));
}

TEST(MixRowsTest, GathersAndMixes) {
  const at::Tensor a = Random({5, 3, 8, 8}, 8).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor b = Random({5, 3, 8, 8}, 9).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor rows = at::tensor({4, 0, 4}, at::kLong);
  EXPECT_TRUE(at::equal(MixRows(a, b, {4, 0, 4}, {0, 1}), b.index_select(0, rows)));
  EXPECT_TRUE(at::equal(MixRows(a, a, {4, 0, 4}, {0.5, 1}), a.index_select(0, rows)));
  const at::Tensor mixed = MixRows(a, b, {4, 0, 4}, {0.25, 1});
  const at::Tensor from_a = mixed.eq(a.index_select(0, rows));
  EXPECT_TRUE(at::equal(mixed, at::where(from_a, a.index_select(0, rows), b.index_select(0, rows))));
  EXPECT_NEAR(from_a.to(at::kDouble).mean().item<double>(), 0.25, 0.08);
  EXPECT_FALSE(at::equal(mixed[0], mixed[2]));  // The same image, mixed twice.
}

// Two images of two channels and one place: (1 + 4 + 9 + 16) / 2.
TEST(SquaredErrorTest, ByHand) {
  const at::Tensor targets = at::tensor({0.0f, 0.0f, 5.0f, 5.0f, 1.0f, 1.0f}).reshape({3, 2, 1, 1});
  const at::Tensor x = at::tensor({1.0f, 2.0f, 4.0f, 5.0f}).reshape({2, 2, 1, 1});
  at::Tensor gradient;
  EXPECT_DOUBLE_EQ(SquaredError(x, targets, {0, 2}, &gradient), 15);
  EXPECT_TRUE(at::equal(gradient, at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).reshape({2, 2, 1, 1})));
}

TEST(SquaredErrorTest, AgreesWithItsFormulaInEitherMemoryOrder) {
  const at::Tensor targets = Random({6, 5, 7, 7}, 10).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor x = Random({2, 5, 7, 7}, 11);
  const at::Tensor difference = x.sub(targets.index_select(0, at::tensor({3, 1}, at::kLong)));
  for (const auto order : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    at::Tensor gradient;
    const double error = SquaredError(x.contiguous(order), targets, {3, 1}, &gradient);
    EXPECT_NEAR(error, difference.pow(2).sum(1).mean().item<double>(), 1e-5);
    EXPECT_TRUE(gradient.allclose(difference.mul(2.0 / (2 * 7 * 7))));
  }
}

}  // namespace
}  // namespace lowbit
