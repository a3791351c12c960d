#include "learning/learned_weight.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/model_testing.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

// The weight rounded to the nearest codes of a grid.
QuantizedTensor Nearest(const at::Tensor& weight, QuantParams params) {
  const at::Tensor codes = Quantize(weight, params);
  return {std::move(params), codes};
}

QuantParams PerChannel(int bits, std::vector<float> scale, float zero_point = 0) {
  QuantParams params;
  params.bits = bits;
  params.scale = std::move(scale);
  params.zero_point.assign(params.scale.size(), zero_point);
  return params;
}

// Grids of every kind, for a weight of two output channels.
std::vector<std::pair<std::string, QuantParams>> AllGrids() {
  QuantParams levels = PerChannel(3, {0.3f, 0.2f});
  levels.levels = {-8, -4, -2, -1, 0, 1, 2, 4};
  QuantParams bases = PerChannel(2, {0.6f, 0.8f});
  bases.bases = {0.5f, 0.25f};
  return {{"3 bits", PerChannel(3, {0.3f, 0.4f})},
          {"one scale", PerChannel(3, {0.3f})},
          {"affine", PerChannel(2, {0.7f, 0.8f}, 0.4f)},
          {"1 bit", SignParams({0.8f, 0.6f})},
          {"levels", levels},
          {"bases", bases}};
}

at::Tensor Written(const LearnedWeight& weight, const at::Tensor& like) {
  at::Tensor value = at::empty_like(like);
  weight.Write(value);
  return value;
}

// (f(x + h) - f(x - h)) / 2h of `parameter`'s element i.
double Slope(const at::Tensor& parameter, int64_t i, const std::function<double()>& f) {
  const c10::AutoGradMode no_gradients(false);
  constexpr float kStep = 1e-2f;
  float* const x = parameter.data_ptr<float>() + i;
  const float before = *x;
  *x = before + kStep;
  const double above = f();
  *x = before - kStep;
  const double below = f();
  *x = before;
  return (above - below) / (2 * kStep);
}

TEST(UpOrDownTest, StartsAtTheFloatWeightAndHardensToTheNearestCodes) {
  const at::Tensor weight = Random({2, 3, 3, 3}, 1);
  for (const auto& [name, params] : AllGrids()) {
    const QuantizedTensor start = Nearest(weight, params);
    const auto learned = MakeUpOrDown(weight, start, 0);
    // Inside of the grid the float weight itself, beyond its end the end.
    const at::Tensor values = Dequantize(start.codes, start.params);
    const at::Tensor written = Written(*learned, weight);
    for (int64_t i = 0; i < weight.numel(); ++i) {
      const float w = weight.flatten()[i].item<float>(), got = written.flatten()[i].item<float>();
      const bool beyond = std::abs(got) < std::abs(w) - 1e-4;
      EXPECT_NEAR(got, beyond ? values.flatten()[i].item<float>() : w, 1e-4) << name;
    }
    const QuantizedTensor hard = learned->Harden();
    EXPECT_TRUE(at::equal(Dequantize(hard.codes, hard.params), values)) << name;
  }
}

TEST(UpOrDownTest, HoldStaysAtTheChosenCodes) {
  const at::Tensor weight = Random({2, 3, 3, 3}, 2).mul(0.3);
  // Codes that nobody would choose: all the same, some more than a step from their weight.
  for (const int32_t code : {-4, -1, 0, 3}) {
    QuantizedTensor start = Nearest(weight, PerChannel(3, {0.1f, 0.1f}));
    start.codes.fill_(code);
    const auto held = MakeUpOrDown(weight, start, 1);
    EXPECT_TRUE(at::equal(held->Harden().codes, start.codes)) << code;
    EXPECT_EQ(held->Undecided(), 0);
    // Between the chosen code and its neighbour, four per cent of the way.
    EXPECT_TRUE(Written(*held, weight).sub(0.1 * code).abs().sub(0.004).abs().lt(1e-5).all().item<bool>()) << code;
  }
}

TEST(UpOrDownTest, UndecidedAreThoseBetween) {
  const at::Tensor weight = at::tensor({0.5f, 0.52f, 1.0f, 0.02f}).reshape({1, 4});
  const auto learned = MakeUpOrDown(weight, Nearest(weight, PerChannel(4, {1.0f})), 0);
  EXPECT_EQ(learned->Undecided(), 2);  // 0.02 is below 0.05
}

TEST(UpOrDownTest, GradientsAgreeWithDifferences) {
  const at::Tensor weight = Random({2, 3, 3, 3}, 3), g = Random({2, 3, 3, 3}, 4);
  for (const auto& [name, params] : AllGrids()) {
    const auto learned = MakeUpOrDown(weight, Nearest(weight, params), 0.3);
    const auto loss = [&, learned = learned.get()] { return Written(*learned, weight).mul(g).sum().item<double>(); };
    loss();
    learned->Back(g);
    const at::Tensor grad_v = learned->rounding()[0].grad().clone();
    const at::Tensor grad_s = learned->scale_factor().grad().clone();
    for (int64_t i = 0; i < weight.numel(); ++i) {
      EXPECT_NEAR(grad_v.flatten()[i].item<double>(), Slope(learned->rounding()[0], i, loss), 5e-3) << name << i;
    }
    for (int64_t i = 0; i < grad_s.numel(); ++i) {
      EXPECT_NEAR(grad_s[i].item<double>(), Slope(learned->scale_factor(), i, loss), 5e-2) << name;
    }
  }
}

TEST(UpOrDownTest, RegularizeAgreesWithDifferencesAndByHand) {
  const at::Tensor weight = at::tensor({0.25f, 0.5f, 0.9f, 2.0f}).reshape({1, 4});
  const auto learned = MakeUpOrDown(weight, Nearest(weight, PerChannel(4, {1.0f})), 0);
  const auto sum = [&] {
    Written(*learned, weight);
    learned->Back(at::zeros({1, 4}));
    return learned->Regularize(1, 2);
  };
  // 1 - (2h - 1)^2 of h = 1/4, 1/2, 9/10 and 0.
  EXPECT_NEAR(sum(), 0.75 + 1 + (1 - 0.64), 1e-4);
  const at::Tensor gradient = learned->rounding()[0].grad().clone();
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(gradient[0][i].item<double>(), Slope(learned->rounding()[0], i, sum), 1e-3) << i;
  }
  EXPECT_NEAR(gradient[0][3].item<double>(), 0, 1e-6);
}

TEST(AnyCodeTest, HardenToWhatWasChosen) {
  const at::Tensor weight = Random({2, 3, 3, 3}, 5);
  for (const auto& [name, params] : AllGrids()) {
    const QuantizedTensor start = Nearest(weight, params);
    const at::Tensor values = Dequantize(start.codes, start.params);
    for (const bool divided : {false, true}) {
      const auto learned = divided ? MakeDivided(weight, start) : MakeLatent(weight, start);
      EXPECT_TRUE(Written(*learned, weight).allclose(values)) << name << divided;
      const QuantizedTensor hard = learned->Harden();
      EXPECT_TRUE(at::equal(Dequantize(hard.codes, hard.params), values)) << name << divided;
      EXPECT_EQ(learned->Undecided(), 0);
      EXPECT_EQ(learned->Regularize(1, 2), 0);
    }
  }
}

TEST(LatentTest, BeginsAtTheCodeWhereThatIsNotTheNearest) {
  const at::Tensor weight = at::tensor({0.2f, 0.2f}).reshape({1, 2});
  const QuantizedTensor start{PerChannel(4, {0.1f}), at::tensor({2, 5}, at::kInt).reshape({1, 2})};
  const auto learned = MakeLatent(weight, start);
  EXPECT_TRUE(learned->rounding()[0].detach().allclose(at::tensor({2.0f, 5.0f}).reshape({1, 2})));
  EXPECT_TRUE(at::equal(learned->Harden().codes, start.codes));
}

// Codes -2 to 1, scale 0.5; the weights lie at 0.6, 1 and 4 steps.
TEST(LatentTest, GradientsByHand) {
  const at::Tensor weight = at::tensor({0.3f, 0.5f, 2.0f}).reshape({1, 3});
  const auto learned = MakeLatent(weight, Nearest(weight, PerChannel(2, {0.5f})));
  EXPECT_TRUE(Written(*learned, weight).allclose(at::tensor({0.5f, 0.5f, 0.5f}).reshape({1, 3})));
  learned->Back(at::tensor({1.0f, 10.0f, 100.0f}).reshape({1, 3}));
  EXPECT_TRUE(learned->rounding()[0].grad().allclose(at::tensor({0.5f, 5.0f, 0.0f}).reshape({1, 3})));
  // scale (0.5) times: (1 - 0.6) + 10 (1 - 1) + 100 * 1
  EXPECT_NEAR(learned->scale_factor().grad().item<float>(), 0.5 * (0.4 + 0 + 100), 1e-3);
}

TEST(DividedTest, GradientsByHand) {
  const at::Tensor weight = at::tensor({0.3f, 0.5f, 2.0f, -0.5f}).reshape({2, 2});
  const auto learned = MakeDivided(weight, Nearest(weight, PerChannel(2, {0.5f})));
  Written(*learned, weight);
  learned->Back(at::tensor({1.0f, 10.0f, 100.0f, 1000.0f}).reshape({2, 2}));
  // -g scale u inside of the grid: u is 0.6, 1, 4 (outside) and -1.
  const at::Tensor grad = at::tensor({-0.3f, -5.0f, 0.0f, 500.0f}).reshape({2, 2});
  EXPECT_TRUE(learned->rounding()[0].grad().allclose(grad));
  EXPECT_TRUE(learned->rounding()[1].grad().allclose(grad.sum(1)));
  EXPECT_TRUE(learned->rounding()[2].grad().allclose(grad.sum(0)));
}

TEST(FixedCodesTest, OnlyTheScaleIsLearned) {
  const at::Tensor weight = Random({2, 3}, 7);
  for (const auto& [name, params] : AllGrids()) {
    const QuantizedTensor start = Nearest(weight, params);
    const auto learned = MakeFixedCodes(start);
    const at::Tensor values = Dequantize(start.codes, start.params);
    EXPECT_TRUE(Written(*learned, weight).allclose(values)) << name;
    learned->Back(at::full({2, 3}, 1.0f));
    EXPECT_NEAR(learned->scale_factor().grad().sum().item<double>(), values.sum().item<double>(), 1e-4) << name;
    {
      const c10::AutoGradMode no_gradients(false);
      at::Tensor(learned->scale_factor()).mul_(3);
    }
    EXPECT_TRUE(Written(*learned, weight).allclose(values.mul(3))) << name;
    EXPECT_TRUE(at::equal(learned->Harden().codes, start.codes)) << name;
  }
}

TEST(LearnedWeightTest, KeepScalesHoldsThemAboveATenth) {
  const at::Tensor weight = Random({2, 3}, 6);
  const auto learned = MakeUpOrDown(weight, Nearest(weight, PerChannel(4, {0.5f, 0.2f})), 0);
  const c10::AutoGradMode no_gradients(false);
  learned->scale_factor().data_ptr<float>()[0] = -3;
  learned->scale_factor().data_ptr<float>()[1] = 2;
  learned->KeepScales();
  const QuantParams params = learned->Harden().params;
  EXPECT_FLOAT_EQ(params.scale[0], 0.05f);
  EXPECT_FLOAT_EQ(params.scale[1], 0.4f);
}

}  // namespace
}  // namespace lowbit
