#include "learning/learned_weight.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model_testing.h"
#include "quant/channel_grid.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::FloatNear;
using testing::Pointwise;

constexpr int64_t kOut = 3, kIn = 4;

QuantParams Params(int bits, bool is_signed, std::vector<float> scale, std::vector<float> zero_point = {}) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.zero_point = zero_point.empty() ? std::vector<float>(scale.size(), 0) : std::move(zero_point);
  params.scale = std::move(scale);
  return params;
}

// Of every kind, with one scale and with one for each channel.
std::vector<QuantParams> Grids() {
  QuantParams levels = Params(3, true, {0.2f, 0.3f, 0.1f});
  levels.levels = {-8, -2, -1, 0, 1, 5};
  QuantParams bases = Params(2, true, {0.4f, 0.3f, 0.5f});
  bases.bases = {0.5f, 0.25f, 0.75f};
  QuantParams same_values = Params(3, true, {0.4f});  // several codes of one value
  same_values.bases = {1, 0.5f};
  return {Params(4, true, {0.2f}),
          Params(3, true, {0.3f, 0.1f, 0.5f}),
          Params(2, false, {0.6f}, {1.3f}),
          Params(4, false, {0.2f, 0.3f, 0.1f}, {7, 8, 2.5f}),
          SignParams({0.4f}),
          SignParams({0.4f, 0.2f, 0.7f}),
          levels,
          bases,
          same_values};
}

at::Tensor Weight(uint64_t seed) { return Random({kOut, kIn, 3, 3}, seed).mul(0.5); }

QuantizedTensor Nearest(const at::Tensor& weight, const QuantParams& params) {
  return {params, Quantize(weight, params)};
}

// Codes that have nothing to do with a weight.
QuantizedTensor AnyCodes(const QuantParams& params, uint64_t seed) {
  at::Tensor codes = at::empty({kOut, kIn, 3, 3}, at::kInt);
  Rng rng({seed});
  const int64_t count = params.qmax() - params.qmin() + 1;
  for (int64_t i = 0; i < codes.numel(); ++i) {
    codes.data_ptr<int32_t>()[i] = params.qmin() + static_cast<int32_t>(rng.UniformInt(count));
  }
  return {params, codes};
}

at::Tensor Dequantized(const QuantizedTensor& tensor) { return Dequantize(tensor.codes, tensor.params); }

at::Tensor Value(const LearnedWeight& weight) {
  at::Tensor value = at::empty(weight.rounding().front().sizes(), at::kFloat);
  weight.Write(value);
  return value;
}

std::vector<float> Values(const at::Tensor& x) {
  const at::Tensor dense = x.detach().contiguous();
  return {dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel()};
}

// Between the ends of every channel's grid.
at::Tensor WithinGrid(const at::Tensor& weight, const QuantParams& params) {
  at::Tensor within = weight.clone();
  for (int64_t c = 0; c < weight.size(0); ++c) {
    const std::vector<float> values = ChannelGrid(params, static_cast<size_t>(c)).Values();
    within[c].clamp_(values.front(), values.back());
  }
  return within;
}

// (To the last bit but few: scale times what was divided by it.)
void ExpectSameValues(const at::Tensor& a, const at::Tensor& b) { EXPECT_TRUE(at::allclose(a, b, 1e-5, 1e-6)); }

using Maker = std::function<std::unique_ptr<LearnedWeight>(const at::Tensor&, const QuantizedTensor&)>;

std::unique_ptr<LearnedWeight> LatentFromFloat(const at::Tensor& weight, const QuantizedTensor& start) {
  return MakeLatent(weight, start, 0);
}

std::vector<Maker> Makers() {
  return {[](const at::Tensor& w, const QuantizedTensor& start) { return MakeUpOrDown(w, start, 0); },
          [](const at::Tensor& w, const QuantizedTensor& start) { return MakeUpOrDown(w, start, 0.7); }, &MakeDivided,
          &LatentFromFloat,
          [](const at::Tensor& w, const QuantizedTensor& start) { return MakeLatent(w, start, 0.7); }};
}

// ---- What all have in common ----

TEST(LearnedWeightTest, HardensToTheNearestCodesAtTheStart) {
  for (const QuantParams& params : Grids()) {
    const at::Tensor weight = Weight(1);
    const QuantizedTensor start = Nearest(weight, params);
    for (const Maker& make : Makers()) {
      const auto learned = make(weight, start);
      EXPECT_EQ(learned->size(), weight.numel());
      const QuantizedTensor end = learned->Harden();
      EXPECT_EQ(end.params, params);
      ExpectSameValues(Dequantized(end), Dequantized(start));
      EXPECT_TRUE(!params.bases.empty() || at::equal(end.codes, start.codes));
    }
  }
}

// What hardens is what a code stands for with the scale of that moment, which is what it was times its factor.
TEST(LearnedWeightTest, ScalesAreMultiplied) {
  for (const QuantParams& params : Grids()) {
    const QuantizedTensor start = Nearest(Weight(1), params);
    for (const Maker& make : Makers()) {
      const auto learned = make(Weight(1), start);
      const int64_t scales = static_cast<int64_t>(params.scale.size());
      ASSERT_EQ(learned->scale_factor().sizes(), at::IntArrayRef({scales}));
      for (int64_t c = 0; c < scales; ++c) {
        learned->scale_factor().data_ptr<float>()[c] = 0.5f + 0.25f * static_cast<float>(c);
      }
      const QuantizedTensor end = learned->Harden();
      for (int64_t c = 0; c < scales; ++c) {
        const size_t k = static_cast<size_t>(c);
        EXPECT_FLOAT_EQ(end.params.scale[k], params.scale[k] * (0.5f + 0.25f * static_cast<float>(c)));
      }
      EXPECT_EQ(end.params.zero_point, params.zero_point);
    }
  }
}

TEST(LearnedWeightTest, KeepScalesHoldsThemAboveATenth) {
  const auto learned = MakeLatent(Weight(1), Nearest(Weight(1), Params(3, true, {0.3f, 0.1f, 0.5f})), 0);
  const float factors[] = {0.01f, -3, 0.5f};
  std::copy(factors, factors + 3, learned->scale_factor().data_ptr<float>());
  learned->KeepScales();
  EXPECT_THAT(Values(learned->scale_factor()), ElementsAre(0.1f, 0.1f, 0.5f));
}

// Of one scale for all channels the gradient is the sum of what it would be of one for each.
TEST(LearnedWeightTest, OneScaleForAllGetsTheSum) {
  const at::Tensor weight = Weight(2), gradient = Random(weight.sizes(), 3);
  for (const Maker& make : Makers()) {
    const auto one = make(weight, Nearest(weight, Params(3, true, {0.3f})));
    const auto each = make(weight, Nearest(weight, Params(3, true, {0.3f, 0.3f, 0.3f})));
    for (LearnedWeight* learned : {one.get(), each.get()}) {
      Value(*learned);
      learned->Back(gradient);
    }
    EXPECT_NEAR(one->scale_factor().grad().item<float>(), each->scale_factor().grad().sum().item<float>(), 1e-4);
    EXPECT_TRUE(at::equal(one->rounding()[0].grad(), each->rounding()[0].grad()));
  }
}

// A second time back sets gradients anew.
TEST(LearnedWeightTest, GradientsAreSetNotAdded) {
  const at::Tensor weight = Weight(2), gradient = Random(weight.sizes(), 3);
  for (const Maker& make : Makers()) {
    const auto learned = make(weight, Nearest(weight, Params(3, true, {0.3f})));
    Value(*learned);
    learned->Back(gradient);
    const at::Tensor scale = learned->scale_factor().grad().clone(), v = learned->rounding()[0].grad().clone();
    learned->Back(gradient);
    EXPECT_TRUE(at::equal(learned->scale_factor().grad(), scale));
    EXPECT_TRUE(at::equal(learned->rounding()[0].grad(), v));
  }
}

// ---- Up or down ----

TEST(UpOrDownTest, StartsAtTheFloatWeight) {
  for (const QuantParams& params : Grids()) {
    const at::Tensor weight = Weight(4);
    ExpectSameValues(Value(*MakeUpOrDown(weight, Nearest(weight, params), 0)), WithinGrid(weight, params));
  }
}

// Steps of 1: 0.3 lies between 0 and 1, -0.8 between -1 and 0 (the chosen code); 2.6 and -9 beyond codes that were
// chosen further away, so at the neighbour on their side; 9 beyond the grid's end.
TEST(UpOrDownTest, ByHand) {
  const at::Tensor weight = at::tensor({0.3f, -0.8f, 2.6f, -9.0f, 9.0f}).view({1, 5});
  const QuantizedTensor start{Params(3, true, {1}), at::tensor({0, -1, 1, 2, 3}, at::kInt).view({1, 5})};
  const auto learned = MakeUpOrDown(weight, start, 0);
  EXPECT_THAT(Values(Value(*learned)), Pointwise(FloatNear(1e-6f), {0.3f, -0.8f, 2.0f, 1.0f, 3.0f}));
  EXPECT_THAT(Values(learned->Harden().codes.to(at::kFloat)), ElementsAre(0, -1, 2, 1, 3));
  EXPECT_EQ(learned->Undecided(), 2);
  // Those that begin at the end of their way can go back.
  learned->Back(at::ones({1, 5}));
  EXPECT_THAT(Values(learned->rounding()[0].grad()), Each(testing::Gt(0.01f)));
  // h = 0.04 of the way from the chosen code.
  const auto held = MakeUpOrDown(weight, start, 1);
  EXPECT_THAT(Values(Value(*held)), Pointwise(FloatNear(1e-6f), {0.04f, -0.96f, 1.04f, 1.96f, 2.96f}));
  EXPECT_TRUE(at::equal(held->Harden().codes, start.codes));
  // Half of the way between the two.
  EXPECT_THAT(Values(Value(*MakeUpOrDown(weight, start, 0.5))),
              Pointwise(FloatNear(1e-6f), {0.17f, -0.88f, 1.52f, 1.48f, 2.98f}));
}

TEST(UpOrDownTest, HeldItKeepsWhateverCodesWereChosen) {
  for (const QuantParams& params : Grids()) {
    const QuantizedTensor start = AnyCodes(params, 5);
    const auto learned = MakeUpOrDown(Weight(6), start, 1);
    const QuantizedTensor end = learned->Harden();
    ExpectSameValues(Dequantized(end), Dequantized(start));
    EXPECT_TRUE(!params.bases.empty() || at::equal(end.codes, start.codes));
  }
}

// Each is pushed to one side, and becomes one of the two neighbours that its weight lies between.
TEST(UpOrDownTest, BecomesEitherNeighbour) {
  const QuantParams params = Params(8, true, {0.01f});
  const at::Tensor weight = Weight(7).mul(0.4);
  for (const bool up : {false, true}) {
    const auto learned = MakeUpOrDown(weight, Nearest(weight, params), 0);
    learned->rounding()[0].detach().fill_(up ? 5 : -5);
    EXPECT_EQ(learned->Undecided(), 0);
    const at::Tensor wanted = up ? weight.div(0.01f).ceil() : weight.div(0.01f).floor();
    EXPECT_TRUE(at::equal(learned->Harden().codes, wanted.to(at::kInt)));
    ExpectSameValues(Value(*learned), wanted.mul(0.01f));
  }
}

TEST(UpOrDownTest, UndecidedAreThoseBetween) {
  const at::Tensor weight = at::zeros({1, 5}, at::kFloat);
  const auto learned = MakeUpOrDown(weight, Nearest(weight, Params(3, true, {1})), 0);
  // h = 1.2 sigmoid(V) - 0.1: V with h of 0.04, 0.06, 0.5, 0.94 and 0.96.
  const float h[] = {0.04f, 0.06f, 0.5f, 0.94f, 0.96f};
  for (int i = 0; i < 5; ++i) learned->rounding()[0].data_ptr<float>()[i] = -std::log(1.2f / (h[i] + 0.1f) - 1);
  EXPECT_EQ(learned->Undecided(), 3);
  EXPECT_THAT(Values(Value(*learned)), Pointwise(FloatNear(1e-6f), h));
}

TEST(UpOrDownTest, GradientsAreThoseOfWhatIsWritten) {
  constexpr float kStep = 1e-2f;
  for (const QuantParams& params : Grids()) {
    const at::Tensor weight = Weight(8), g = Random(weight.sizes(), 9);
    const auto learned = MakeUpOrDown(weight, Nearest(weight, params), 0.2);
    learned->scale_factor().data_ptr<float>()[0] = 1.25f;
    const auto loss = [&] { return Value(*learned).to(at::kDouble).mul(g).sum().item<double>(); };
    const auto slope = [&](float* x) {
      const float before = *x;
      *x = before + kStep;
      const double above = loss();
      *x = before - kStep;
      const double below = loss();
      *x = before;
      return (above - below) / (2 * kStep);
    };
    loss();
    learned->Back(g);
    const std::vector<float> of_v = Values(learned->rounding()[0].grad());
    const std::vector<float> of_scale = Values(learned->scale_factor().grad());
    float* const v = learned->rounding()[0].data_ptr<float>();
    for (size_t i = 0; i < of_v.size(); ++i) {
      // (Not where the sigmoid is cut off within the step.)
      const float h = 1.2f / (1 + std::exp(-v[i])) - 0.1f;
      if (std::min(std::abs(h), std::abs(1 - h)) < 5e-3f) continue;
      EXPECT_NEAR(of_v[i], slope(v + i), 2e-4) << i;
    }
    for (size_t c = 0; c < of_scale.size(); ++c) {
      EXPECT_NEAR(of_scale[c], slope(learned->scale_factor().data_ptr<float>() + c), 2e-3) << c;
    }
  }
}

// Where the sigmoid is cut off nothing moves any more.
TEST(UpOrDownTest, DecidedOnesHaveNoGradient) {
  const at::Tensor weight = at::tensor({0.3f, 0.4f, 0.4f}).view({1, 3});
  const auto learned = MakeUpOrDown(weight, Nearest(weight, Params(3, true, {1})), 0);
  learned->rounding()[0].data_ptr<float>()[0] = -2.5f;
  learned->rounding()[0].data_ptr<float>()[1] = 2.5f;
  Value(*learned);
  learned->Back(at::ones({1, 3}));
  EXPECT_EQ(learned->Regularize(3, 4), learned->Regularize(0, 4));
  const std::vector<float> gradient = Values(learned->rounding()[0].grad());
  EXPECT_EQ(gradient[0], 0);
  EXPECT_EQ(gradient[1], 0);
  EXPECT_NE(gradient[2], 0);
}

// h = 0.5 costs 1, h = 0.25 costs 1 - 0.5^b, decided ones cost nothing.
TEST(UpOrDownTest, RegularizerByHand) {
  const at::Tensor weight = at::tensor({0.5f, 0.25f, -0.25f, 1.0f, 9.0f}).view({1, 5});
  for (const double sharpness : {2.0, 20.0}) {
    const auto learned = MakeUpOrDown(weight, Nearest(weight, Params(3, true, {1})), 0);
    Value(*learned);
    learned->Back(at::zeros({1, 5}));
    EXPECT_NEAR(learned->Regularize(1, sharpness), 1 + 2 * (1 - std::pow(0.5, sharpness)), 1e-4);
  }
}

TEST(UpOrDownTest, RegularizerAddsItsGradient) {
  constexpr float kStep = 1e-2f;
  const at::Tensor weight = Weight(10), g = Random(weight.sizes(), 11);
  for (const QuantParams& params : {Params(3, true, {0.3f}), Params(3, true, {0.3f, 0.1f, 0.5f})}) {
    const auto learned = MakeUpOrDown(weight, Nearest(weight, params), 0.2);
    Value(*learned);
    learned->Back(g);
    const std::vector<float> before = Values(learned->rounding()[0].grad());
    learned->Regularize(7, 3);
    const std::vector<float> after = Values(learned->rounding()[0].grad());
    const auto sum = [&] {
      Value(*learned);
      return learned->Regularize(0, 3);
    };
    float* const v = learned->rounding()[0].data_ptr<float>();
    for (size_t i = 0; i < before.size(); ++i) {
      const float h = 1.2f / (1 + std::exp(-v[i])) - 0.1f;
      if (std::min(std::abs(h), std::abs(1 - h)) < 5e-3f) continue;
      const float here = v[i];
      v[i] = here + kStep;
      const double above = sum();
      v[i] = here - kStep;
      const double below = sum();
      v[i] = here;
      EXPECT_NEAR(after[i] - before[i], 7 * (above - below) / (2 * kStep), 0.02) << i;
    }
  }
}

// ---- Any code ----

TEST(AnyCodeTest, HasNothingToDecide) {
  for (const Maker& make : {Maker(&MakeDivided), Maker(&LatentFromFloat)}) {
    const auto learned = make(Weight(1), Nearest(Weight(1), Params(3, true, {0.3f})));
    Value(*learned);
    learned->Back(at::zeros(Weight(1).sizes()));
    EXPECT_EQ(learned->Regularize(1, 2), 0);
    EXPECT_EQ(learned->Undecided(), 0);
  }
}

TEST(AnyCodeTest, WritesTheNearestValues) {
  for (const QuantParams& params : Grids()) {
    for (const Maker& make : {Maker(&MakeDivided), Maker(&LatentFromFloat)}) {
      ExpectSameValues(Value(*make(Weight(12), Nearest(Weight(12), params))), FakeQuantize(Weight(12), params));
    }
  }
}

// Scale 0.5, codes -4 to 3: w / scale is 1.2, -0.6, 10, 0.2, the codes 1, -1, 3, 0; the third is outside.
struct FourWeights {
  const at::Tensor weight = at::tensor({0.6f, -0.3f, 5.0f, 0.1f}).view({2, 2});
  const at::Tensor gradient = at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).view({2, 2});
  const QuantizedTensor start = Nearest(weight, Params(3, true, {0.5f}));
  // Sum of g (q - (inside ? u : 0)), times the scale.
  const double scale_gradient = 0.5 * (1 * -0.2 + 2 * -0.4 + 3 * 3 + 4 * -0.2);
};

TEST(DividedTest, GradientsByHand) {
  const FourWeights four;
  const auto learned = MakeDivided(four.weight, four.start);
  ASSERT_EQ(learned->rounding().size(), 3u);
  EXPECT_THAT(Values(Value(*learned)), ElementsAre(0.5f, -0.5f, 1.5f, 0));
  learned->Back(four.gradient);
  // -g w inside of the grid; of rows and of columns the sums.
  EXPECT_THAT(Values(learned->rounding()[0].grad()), Pointwise(FloatNear(1e-6f), {-0.6f, 0.6f, 0.0f, -0.4f}));
  EXPECT_THAT(Values(learned->rounding()[1].grad()), Pointwise(FloatNear(1e-6f), {0.0f, -0.4f}));
  EXPECT_THAT(Values(learned->rounding()[2].grad()), Pointwise(FloatNear(1e-6f), {-0.6f, 0.2f}));
  EXPECT_NEAR(learned->scale_factor().grad().item<float>(), four.scale_gradient, 1e-6);
}

// D of a weight, its output channel and its input channel add up, and divide before rounding.
TEST(DividedTest, DividesByThreeNumbers) {
  const at::Tensor weight = Weight(13);
  const QuantParams params = Params(4, true, {0.1f, 0.2f, 0.3f});
  const auto learned = MakeDivided(weight, Nearest(weight, params));
  learned->rounding()[0].detach()[2][3][0][1] = 0.5f;
  learned->rounding()[1].detach()[1] = -0.75f;
  learned->rounding()[2].detach()[3] = 1.25f;
  at::Tensor d = at::zeros(weight.sizes());
  d[2][3][0][1] += 0.5f;
  d[1] += -0.75f;
  d.select(1, 3) += 1.25f;
  const at::Tensor wanted = FakeQuantize(weight.div(d.exp()), params);
  ExpectSameValues(Value(*learned), wanted);
  ExpectSameValues(Dequantized(learned->Harden()), wanted);
  // And so do the gradients.
  const at::Tensor g = Random(weight.sizes(), 14);
  learned->Back(g);
  const at::Tensor each = learned->rounding()[0].grad();
  EXPECT_TRUE(at::allclose(learned->rounding()[1].grad(), each.sum({1, 2, 3}), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(learned->rounding()[2].grad(), each.sum({0, 2, 3}), 1e-4, 1e-5));
}

// Steps of 1, weights and chosen codes: 0.3 and -1.4 keep their nearest ones, 0 and -1; 0.3 is divided up to 2 and 1.4
// down to 0; no division takes 0.6 to -1, or 0 to 1.
TEST(DividedTest, StartsAtTheChosenCodes) {
  const at::Tensor weight = at::tensor({0.3f, -1.4f, 0.3f, 1.4f, -0.6f, 0.6f, 0.0f}).view({1, 7});
  const QuantizedTensor start{Params(3, true, {1}), at::tensor({0, -1, 2, 0, 0, -1, 1}, at::kInt).view({1, 7})};
  const auto learned = MakeDivided(weight, start);
  EXPECT_THAT(Values(learned->rounding()[0]),
              Pointwise(FloatNear(1e-5f), {0.0f, 0.0f, std::log(0.15f), std::log(5.6f), std::log(2.4f), 0.0f, 0.0f}));
  EXPECT_THAT(Values(learned->Harden().codes.to(at::kFloat)), ElementsAre(0, -1, 2, 0, 0, 1, 0));
}

// Of other grids: every code whose value has the sign of its weight, or is 0.
TEST(DividedTest, StartsAtTheChosenCodesOfEveryGrid) {
  for (const QuantParams& params : Grids()) {
    const at::Tensor weight = Weight(18);
    const QuantizedTensor start = AnyCodes(params, 19);
    const at::Tensor chosen = Dequantized(start);
    const at::Tensor there = Value(*MakeDivided(weight, start));
    const std::vector<float> w = Values(weight), wanted = Values(chosen), got = Values(there);
    int reached = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      if (w[i] * wanted[i] < 0) continue;
      EXPECT_NEAR(got[i], wanted[i], 1e-5f) << i;
      ++reached;
    }
    EXPECT_GT(reached, static_cast<int>(w.size()) / 4);
  }
}

TEST(LatentTest, GradientsByHand) {
  const FourWeights four;
  const auto learned = MakeLatent(four.weight, four.start, 0);
  ASSERT_EQ(learned->rounding().size(), 1u);
  EXPECT_THAT(Values(learned->rounding()[0]), Pointwise(FloatNear(1e-6f), {1.2f, -0.6f, 10.0f, 0.2f}));
  EXPECT_THAT(Values(Value(*learned)), ElementsAre(0.5f, -0.5f, 1.5f, 0));
  learned->Back(four.gradient);
  EXPECT_THAT(Values(learned->rounding()[0].grad()), ElementsAre(0.5f, 1, 0, 2));
  EXPECT_NEAR(learned->scale_factor().grad().item<float>(), four.scale_gradient, 1e-6);
}

// Held: between the float weight and the value that was chosen, also where the float weight is beyond the grid.
TEST(LatentTest, HoldMovesTheStartToTheChosenValues) {
  const FourWeights four;
  for (const auto& [hold, expected] :
       std::vector<std::pair<double, std::vector<float>>>{{0.5, {1.1f, -0.8f, 6.5f, 0.1f}}, {1, {1, -1, 3, 0}}}) {
    const auto learned = MakeLatent(four.weight, four.start, hold);
    EXPECT_THAT(Values(learned->rounding()[0]), Pointwise(FloatNear(1e-6f), expected));
    EXPECT_THAT(Values(Value(*learned)), ElementsAre(0.5f, -0.5f, 1.5f, 0));
  }
}

// One bit: the grid is +-0.25, and half a step, 0.25, beyond counts as inside.
TEST(LatentTest, OneBitHasHalfAStepOfSlack) {
  const at::Tensor weight = at::tensor({-0.7f, -0.4f, 0.1f, 0.6f}).view({1, 4});
  const auto learned = MakeLatent(weight, Nearest(weight, SignParams({0.25f})), 0);
  Value(*learned);
  learned->Back(at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).view({1, 4}));
  EXPECT_THAT(Values(learned->rounding()[0].grad()), ElementsAre(0, 1, 1.5f, 0));
  EXPECT_NEAR(learned->scale_factor().grad().item<float>(), 1 * -0.25 + 2 * (-0.25 + 0.4) + 3 * (0.25 - 0.1) + 4 * 0.25,
              1e-6);
}

// With the scale the grid moves, not the latent weight.
TEST(LatentTest, TheScaleMovesTheGrid) {
  const at::Tensor weight = Weight(15);
  QuantParams params = Params(3, true, {0.3f, 0.1f, 0.5f});
  const auto learned = MakeLatent(weight, Nearest(weight, params), 0);
  for (int64_t c = 0; c < kOut; ++c) {
    learned->scale_factor().data_ptr<float>()[c] = 1.5f;
    params.scale[static_cast<size_t>(c)] *= 1.5f;
  }
  ExpectSameValues(Value(*learned), FakeQuantize(weight, params));
}

TEST(LatentTest, StartsAtTheChosenCodes) {
  for (const QuantParams& params : Grids()) {
    const QuantizedTensor start = AnyCodes(params, 16);
    const auto learned = MakeLatent(Weight(17), start, 0);
    ExpectSameValues(Value(*learned), Dequantized(start));
    const QuantizedTensor end = learned->Harden();
    ExpectSameValues(Dequantized(end), Dequantized(start));
    EXPECT_TRUE(!params.bases.empty() || at::equal(end.codes, start.codes));
  }
}

// ---- As chosen ----

// Value is scale times level, and nothing else: codes 1, -2, 0, 3.
TEST(AsChosenTest, ByHand) {
  const QuantizedTensor start{Params(3, true, {0.5f, 0.25f}), at::tensor({1, -2, 0, 3}, at::kInt).view({2, 2})};
  const auto learned = MakeAsChosen(start);
  EXPECT_THAT(Values(Value(*learned)), ElementsAre(0.5f, -1, 0, 0.75f));
  learned->scale_factor().data_ptr<float>()[0] = 0.3f;
  learned->scale_factor().data_ptr<float>()[1] = 2;
  EXPECT_THAT(Values(Value(*learned)), Pointwise(FloatNear(1e-6f), {0.15f, -0.3f, 0.0f, 1.5f}));
  learned->Back(at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).view({2, 2}));
  EXPECT_THAT(Values(learned->scale_factor().grad()),
              Pointwise(FloatNear(1e-6f), {0.5f * (1 * 1 + 2 * -2), 0.25f * (3 * 0 + 4 * 3)}));
  EXPECT_TRUE(at::equal(learned->Harden().codes, start.codes));
  EXPECT_EQ(learned->size(), 4);
}

TEST(AsChosenTest, AnyGrid) {
  for (const QuantParams& params : Grids()) {
    const QuantizedTensor start = AnyCodes(params, 18);
    const auto learned = MakeAsChosen(start);
    ExpectSameValues(Value(*learned), Dequantized(start));
    EXPECT_TRUE(at::equal(learned->Harden().codes, start.codes));
    EXPECT_EQ(learned->Harden().params, params);
  }
}

}  // namespace
}  // namespace lowbit
