#include "learning/learned_fake_quantize.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model_testing.h"
#include "quant/channel_grid.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::Pointwise;

QuantParams Params(int bits, bool is_signed, float scale, float zero_point = 0) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.scale = {scale};
  params.zero_point = {zero_point};
  return params;
}

QuantParams WithLevels(int bits, float scale, std::vector<int32_t> levels, float zero_point = 0) {
  QuantParams params = Params(bits, true, scale, zero_point);
  params.levels = std::move(levels);
  return params;
}

QuantParams WithBases(int bits, float scale, std::vector<float> bases) {
  QuantParams params = Params(bits, true, scale);
  params.bases = std::move(bases);
  return params;
}

// Grids of every kind that spread over a few standard deviations.
std::vector<QuantParams> Grids() {
  return {Params(8, true, 0.01f),
          Params(4, false, 0.1f),
          Params(3, true, 0.4f),
          Params(4, false, 0.17f, 6.25f),
          Params(16, true, 1e-4f),
          SignParams({0.7f}),
          Params(1, false, 0.9f),
          WithLevels(3, 0.2f, {-8, -3, -1, 0, 1, 4}),
          WithLevels(2, 0.3f, {-3, 0, 2, 5}, 0.5f),
          WithBases(3, 0.8f, {0.5f, 0.3f})};
}

at::Tensor ScaleOf(const QuantParams& params) { return at::full({1}, params.scale.front(), at::kFloat); }

std::string Text(const QuantParams& params, bool relu) {
  return absl::StrCat(params.bits, " bits", params.is_signed ? " signed" : "", ", scale ", params.scale.front(),
                      relu ? ", relu" : "");
}

// In images and in features, in both memory orders, smaller and larger than what one thread takes at a time.
std::vector<at::Tensor> Tensors() {
  return {Random({2, 3, 5, 7}, 1), Random({2, 3, 5, 7}, 2).contiguous(at::MemoryFormat::ChannelsLast),
          Random({3, 17}, 3), Random({1}, 4), Random({3, 11, 25, 41}, 5).contiguous(at::MemoryFormat::ChannelsLast)};
}

bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && at::equal(a.contiguous().view(at::kInt), b.contiguous().view(at::kInt));
}

std::vector<float> Values(const at::Tensor& x) {
  const at::Tensor dense = x.detach().contiguous();
  return {dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel()};
}

struct Gradients {
  at::Tensor y, x, scale;
};

// Of the sum over the elements of g times what comes out.
Gradients Back(const at::Tensor& x, const QuantParams& params, bool relu, const at::Tensor& g,
               const RandomFloat& random = {}) {
  const at::Tensor leaf = x.detach().clone().set_requires_grad(true);
  const at::Tensor scale = ScaleOf(params).set_requires_grad(true);
  const at::Tensor y = LearnedFakeQuantize(leaf, scale, params, relu, random);
  y.mul(g).sum().backward();
  return {y.detach(), leaf.grad(), scale.grad()};
}

Gradients Back(const std::vector<float>& x, const QuantParams& params, bool relu = false) {
  at::Tensor g = at::zeros({static_cast<int64_t>(x.size())}, at::kFloat);
  for (int64_t i = 0; i < g.numel(); ++i) g[i] = i + 1;
  return Back(at::tensor(x), params, relu, g);
}

TEST(LearnedFakeQuantizeTest, ForwardIsFakeQuantizeBitForBit) {
  for (const QuantParams& params : Grids()) {
    QuantParams other_scale = params;
    other_scale.scale = {123};
    for (const bool relu : {false, true}) {
      for (const at::Tensor& x : Tensors()) {
        const at::Tensor y = LearnedFakeQuantize(x, ScaleOf(params), other_scale, relu, {});
        EXPECT_TRUE(SameBits(y, FakeQuantize(relu ? x.clamp_min(0) : x, params)))
            << Text(params, relu) << ", " << x.sizes();
        EXPECT_EQ(y.strides(), x.strides());
      }
    }
  }
}

TEST(LearnedFakeQuantizeTest, NanStaysNanAndInfinitiesAreTheGridsEnds) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  for (const QuantParams& params : Grids()) {
    const std::vector<float> y =
        Values(LearnedFakeQuantize(at::tensor({kNan, kInf, -kInf}), ScaleOf(params), params, false, {}));
    const std::vector<float> ends =
        params.bits == 16 ? std::vector<float>{-3.2768f, 3.2767f} : ChannelGrid(params, 0).Values();
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[1], ends.back());
    EXPECT_EQ(y[2], ends.front());
  }
}

// Codes 0 to 3. x / scale is -2, 0.4, 0.6, 2.8, 3.2, 6, the codes 0, 0, 1, 3, 3, 3; the first and the last two are
// outside. The scale's is 1 * 0 + 2 * -0.4 + 3 * 0.4 + 4 * 0.2 + 5 * 3 + 6 * 3.
TEST(LearnedFakeQuantizeTest, BackByHand) {
  const Gradients got = Back({-1, 0.2f, 0.3f, 1.4f, 1.6f, 3}, Params(2, false, 0.5f));
  EXPECT_THAT(Values(got.y), ElementsAre(0, 0, 0.5f, 1.5f, 1.5f, 1.5f));
  EXPECT_THAT(Values(got.x), ElementsAre(0, 2, 3, 4, 0, 0));
  EXPECT_NEAR(got.scale.item<float>(), 34.2, 1e-4);
}

// Codes -4 to 3: without the relu x / scale = -2.2 is inside, with it no gradient comes through, nor at 0.
TEST(LearnedFakeQuantizeTest, WhatTheReluCutsOffGetsNoGradient) {
  const std::vector<float> x = {-1.1f, 0, 0.6f, 9};
  const Gradients plain = Back(x, Params(3, true, 0.5f));
  EXPECT_THAT(Values(plain.x), ElementsAre(1, 2, 3, 0));
  EXPECT_NEAR(plain.scale.item<float>(), 1 * 0.2 + 3 * -0.2 + 4 * 3, 1e-5);
  const Gradients relu = Back(x, Params(3, true, 0.5f), true);
  EXPECT_THAT(Values(relu.y), ElementsAre(0, 0, 0.5f, 1.5f));
  EXPECT_THAT(Values(relu.x), ElementsAre(0, 0, 3, 0));
  EXPECT_NEAR(relu.scale.item<float>(), 3 * -0.2 + 4 * 3, 1e-5);
}

// +-0.5, so that half a step beyond is +-1.
TEST(LearnedFakeQuantizeTest, OneBitHasHalfAStepOfSlack) {
  const Gradients got = Back({-1.5f, -0.9f, -0.2f, 0.2f, 0.9f, 1.5f}, SignParams({0.5f}));
  EXPECT_THAT(Values(got.y), ElementsAre(-0.5f, -0.5f, -0.5f, 0.5f, 0.5f, 0.5f));
  EXPECT_THAT(Values(got.x), ElementsAre(0, 2, 3, 4, 5, 0));
  EXPECT_NEAR(got.scale.item<float>(), -0.5 + 2 * 0.4 + 3 * -0.3 + 4 * 0.3 + 5 * -0.4 + 6 * 0.5, 1e-5);
}

// x / scale is -6, -2.4, 0.4, 1.4, 4, the levels are -4, -1, 0, 2, 2.
TEST(LearnedFakeQuantizeTest, LevelsByHand) {
  const Gradients got = Back({-3, -1.2f, 0.2f, 0.7f, 2}, WithLevels(2, 0.5f, {-4, -1, 0, 2}));
  EXPECT_THAT(Values(got.y), ElementsAre(-2, -0.5f, 0, 1, 1));
  EXPECT_THAT(Values(got.x), ElementsAre(0, 2, 3, 4, 0));
  EXPECT_NEAR(got.scale.item<float>(), -4 + 2 * 1.4 + 3 * -0.4 + 4 * 0.6 + 5 * 2, 1e-5);
}

// What the header says, one number at a time.
TEST(LearnedFakeQuantizeTest, BackIsWhatTheHeaderSays) {
  for (const QuantParams& params : Grids()) {
    const ChannelGrid grid(params, 0);
    const double low = params.is_uniform() ? grid.qmin() : grid.levels().front();
    const double high = params.is_uniform() ? grid.qmax() : grid.levels().back();
    const double slack = params.bits == 1 ? 0.5 : 0;
    for (const bool relu : {false, true}) {
      for (const at::Tensor& x : Tensors()) {
        // (In another memory order than x.)
        const at::Tensor g = Random(x.sizes(), 17);
        const Gradients got = Back(x, params, relu, g);
        const std::vector<float> in = Values(x), from = Values(g), to = Values(got.x), y = Values(got.y);
        double sum = 0, magnitude = 0;
        for (size_t i = 0; i < in.size(); ++i) {
          const float r = relu ? std::max(in[i], 0.0f) : in[i];
          const double shifted = static_cast<double>(r / params.scale[0] + params.zero_point[0]);
          const bool inside = shifted >= low - slack && shifted <= high + slack;
          ASSERT_EQ(to[i], inside && !(relu && in[i] <= 0) ? from[i] : 0) << Text(params, relu) << " " << in[i];
          const double d = (y[i] - (inside ? r : 0.0f)) / params.scale[0];
          sum += from[i] * d;
          magnitude += std::abs(from[i] * d);
        }
        // (Of 16 bits x / scale itself is rounded to some 2^-9.)
        const double rounding = params.bits == 16 ? 0.05 : 1e-5;
        EXPECT_NEAR(got.scale.item<float>(), sum, rounding + 3e-5 * magnitude)
            << Text(params, relu) << ", " << x.sizes();
      }
    }
  }
}

TEST(LearnedFakeQuantizeTest, TheNumberOfThreadsDoesNotMatter) {
  const int before = at::get_num_threads();
  const at::Tensor x = Random({3, 11, 25, 41}, 5), g = Random({3, 11, 25, 41}, 6);
  for (const QuantParams& params : {Params(3, true, 0.4f), WithLevels(3, 0.2f, {-8, -3, -1, 0, 1, 4})}) {
    at::set_num_threads(1);
    const Gradients one = Back(x, params, true, g, {0.5, 3});
    at::set_num_threads(3);
    const Gradients three = Back(x, params, true, g, {0.5, 3});
    EXPECT_TRUE(SameBits(one.y, three.y));
    EXPECT_TRUE(SameBits(one.x, three.x));
    EXPECT_TRUE(SameBits(one.scale, three.scale));
  }
  at::set_num_threads(before);
}

// ---- Elements that stay float ----

TEST(RandomFloatTest, AsManyAsTheProbabilitySaysAndTheSameBySeed) {
  const at::Tensor x = Random({4, 10, 32, 32}, 7);
  for (const QuantParams& params : {Params(3, true, 0.4f), WithLevels(3, 0.2f, {-8, -3, -1, 0, 1, 4})}) {
    const auto run = [&](double probability, uint32_t seed) {
      return LearnedFakeQuantize(x, ScaleOf(params), params, false, {probability, seed});
    };
    for (const double probability : {0.1, 0.5, 0.9}) {
      const at::Tensor kept = run(probability, 1).eq(x);
      EXPECT_NEAR(kept.to(at::kFloat).mean().item<double>(), probability, 0.01);
      // Not the same channels of all images.
      EXPECT_NEAR(kept.logical_and(kept.roll(1, 0)).to(at::kFloat).mean().item<double>(), probability * probability,
                  0.01);
    }
    EXPECT_TRUE(SameBits(run(0.5, 1), run(0.5, 1)));
    EXPECT_NEAR(run(0.5, 1).eq(run(0.5, 2)).to(at::kFloat).mean().item<double>(), 0.5, 0.01);
    EXPECT_TRUE(SameBits(run(1, 1), x));
    EXPECT_TRUE(SameBits(run(0, 1), FakeQuantize(x, params)));
  }
}

// Those that are kept come through with their gradient, also outside of the grid, but not through the relu; the scale
// has nothing to do with them.
TEST(RandomFloatTest, PassesValueAndGradient) {
  const at::Tensor x = Random({3, 7, 9, 11}, 8).mul(3).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor g = Random({3, 7, 9, 11}, 9);
  for (const QuantParams& params : {Params(2, false, 0.4f), WithLevels(2, 0.4f, {0, 1, 2, 3})}) {
    for (const bool relu : {false, true}) {
      const at::Tensor r = relu ? x.clamp_min(0) : x;
      const Gradients plain = Back(x, params, relu, g), some = Back(x, params, relu, g, {0.5, 4});
      const at::Tensor kept = LearnedFakeQuantize(x.abs().add(10), ScaleOf(params), params, false, {0.5, 4}).gt(5);
      EXPECT_NEAR(kept.to(at::kFloat).mean().item<double>(), 0.5, 0.05);
      EXPECT_TRUE(SameBits(some.y, at::where(kept, r, plain.y)));
      const at::Tensor open = relu ? x.gt(0) : x.eq(x);
      EXPECT_TRUE(at::equal(some.x, at::where(kept, g.mul(open), plain.x)));
      const Gradients quantized = Back(x, params, relu, g.mul(kept.logical_not()));
      EXPECT_NEAR(some.scale.item<float>(), quantized.scale.item<float>(), 1e-2);
    }
  }
}

// ---- MixRows ----

TEST(MixRowsTest, GathersRowsOfOneTensor) {
  const at::Tensor a = Random({5, 3, 4, 6}, 10).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor mixed = MixRows(a, a, {4, 0, 4}, {0.5, 1});
  EXPECT_TRUE(mixed.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(at::equal(mixed, at::stack({a[4], a[0], a[4]})));
}

TEST(MixRowsTest, TakesEachElementFromOneOfTwo) {
  const std::vector<int64_t> rows = {3, 1, 0, 3};
  for (const bool channels_last : {false, true}) {
    at::Tensor a = Random({4, 6, 32, 33}, 11), b = Random({4, 6, 32, 33}, 12);
    if (channels_last) {
      a = a.contiguous(at::MemoryFormat::ChannelsLast);
      b = b.contiguous(at::MemoryFormat::ChannelsLast);
    }
    const at::Tensor rows_a = MixRows(a, a, rows, {}), rows_b = MixRows(b, b, rows, {});
    const at::Tensor mixed = MixRows(a, b, rows, {0.25, 5});
    const at::Tensor from_a = mixed.eq(rows_a);
    EXPECT_TRUE(from_a.logical_or(mixed.eq(rows_b)).all().item<bool>());
    EXPECT_NEAR(from_a.to(at::kFloat).mean().item<double>(), 0.25, 0.015);
    // The same image twice in a batch is mixed twice.
    EXPECT_FALSE(at::equal(mixed[0], mixed[3]));
    EXPECT_TRUE(at::equal(mixed, MixRows(a, b, rows, {0.25, 5})));
    EXPECT_FALSE(at::equal(mixed, MixRows(a, b, rows, {0.25, 6})));
    EXPECT_TRUE(at::equal(MixRows(a, b, rows, {0, 5}), rows_b));
    EXPECT_TRUE(at::equal(MixRows(a, b, rows, {1, 5}), rows_a));
  }
}

TEST(MixRowsTest, Features) {
  const at::Tensor a = Random({4, 7}, 13), b = Random({4, 7}, 14);
  EXPECT_TRUE(at::equal(MixRows(a, b, {2, 1}, {}), at::stack({b[2], b[1]})));
}

// One image's memory may be in any order.
TEST(MixRowsTest, AnyMemoryOrderOfAnImage) {
  const at::Tensor a = Random({4, 5, 7, 3}, 15).permute({0, 2, 1, 3});
  EXPECT_TRUE(at::equal(MixRows(a, a, {2, 1}, {}), at::stack({a[2], a[1]})));
  const at::Tensor b = Random({4, 5, 7}, 16).transpose(1, 2);
  EXPECT_TRUE(at::equal(MixRows(b, b, {3, 3, 0}, {}), at::stack({b[3], b[3], b[0]})));
  at::Tensor gradient;
  EXPECT_EQ(SquaredError(MixRows(a, a, {2, 1}, {}), a, {2, 1}, &gradient), 0);
}

// ---- SquaredError ----

// Two images of two channels and two places: rows 2 and 0 of the targets. Differences 1, 0, 0, -2 and four times -1.
TEST(SquaredErrorTest, ByHand) {
  const at::Tensor x = at::tensor({1.0f, 2.0f, 3.0f, 4.0f, 0.0f, 0.0f, 0.0f, 0.0f}).view({2, 2, 1, 2});
  const at::Tensor targets =
      at::tensor({1.0f, 1.0f, 1.0f, 1.0f, 9.0f, 9.0f, 9.0f, 9.0f, 0.0f, 2.0f, 3.0f, 6.0f}).view({3, 2, 1, 2});
  at::Tensor gradient;
  EXPECT_DOUBLE_EQ(SquaredError(x, targets, {2, 0}, &gradient), 9.0 / 4);
  EXPECT_THAT(Values(gradient), ElementsAre(0.5f, 0, 0, -1, -0.5f, -0.5f, -0.5f, -0.5f));
  EXPECT_DOUBLE_EQ(SquaredError(x.view({2, 4}), targets.view({3, 4}), {2, 0}, &gradient), 9.0 / 2);
  EXPECT_THAT(Values(gradient), ElementsAre(1, 0, 0, -2, -1, -1, -1, -1));
}

TEST(SquaredErrorTest, IsWhatAtenSaysInAnyMemoryOrder) {
  const int before = at::get_num_threads();
  const std::vector<int64_t> rows = {5, 0, 2};
  const at::Tensor x = Random({3, 7, 9, 5}, 17), targets = Random({6, 7, 9, 5}, 18);
  const at::Tensor difference = x.sub(at::stack({targets[5], targets[0], targets[2]}));
  for (const at::MemoryFormat of_x : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    for (const at::MemoryFormat of_targets : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      at::Tensor gradient, again;
      at::set_num_threads(1);
      const double error = SquaredError(x.contiguous(of_x), targets.contiguous(of_targets), rows, &gradient);
      at::set_num_threads(3);
      EXPECT_EQ(SquaredError(x.contiguous(of_x), targets.contiguous(of_targets), rows, &again), error);
      EXPECT_TRUE(SameBits(gradient, again));
      const at::Tensor wanted = difference.to(at::kDouble).square().sum(1).mean();
      EXPECT_NEAR(error, wanted.item<double>(), 1e-5);
      EXPECT_THAT(Values(gradient), Pointwise(FloatNear(1e-7f), Values(difference.mul(2.0 / (3 * 9 * 5)))));
    }
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace lowbit
