#include "model/passes/equalize.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/model_testing.h"
#include "model/passes/fold_batch_norm.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Every parameter random; the channels of weights of very different sizes.
Model Uneven(Graph graph) {
  ParameterMap parameters;
  uint64_t seed = 50;
  for (const Layer& layer : graph.layers()) {
    for (const auto& [name, shape] : ParameterShapes(layer.op)) {
      at::Tensor value = Random(shape, ++seed);
      if (name == "weight") {
        Shape per_output(shape.size(), 1);
        per_output[0] = shape[0];
        value = value * Random({shape[0]}, seed + 1000).mul(2).exp().view(per_output);
      }
      parameters[ParameterName(layer.name, name)] = value;
    }
  }
  return {std::move(graph), std::move(parameters)};
}

at::Tensor Outputs(const Model& model, const at::Tensor& images) {
  const auto executor = Executor::Create(model.graph, model.parameters);
  EXPECT_TRUE(executor.ok()) << executor.status();
  const auto outputs = executor->Forward(images);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return *outputs;
}

void ExpectSameFunction(const Model& a, const Model& b, const at::Tensor& images) {
  const at::Tensor before = Outputs(a, images), after = Outputs(b, images);
  EXPECT_GT((before[0] - before[1]).abs().max().item<double>(), 1e-3);  // Not because nothing arrives.
  EXPECT_LE((before - after).abs().max().item<double>(), 2e-5 * before.abs().max().item<double>());
}

Conv2d Conv(int64_t in, int64_t out, int64_t kernel, int64_t groups = 1, bool bias = true) {
  Conv2d conv{in, out, {kernel, kernel}};
  conv.padding = {kernel / 2, kernel / 2};
  conv.groups = groups;
  conv.bias = bias;
  return conv;
}

EqualizeResult Do(const Model& model, const NetworkMoments& moments = {}, const EqualizeOptions& options = {}) {
  auto result = Equalize(model, moments, options);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

// Three channels with r1 = {4, 1, 0} and r2 = {1, 16, 3}: s = {1/2, 4, 1}.
Model HandMade() {
  Model model{Make({{"input", Input{1, 1, 1}, {}},
                    {"a", Conv(1, 3, 1), {0}},
                    {"relu", Relu{}, {1}},
                    {"b", Conv(3, 2, 1, 1, /*bias=*/false), {2}}}),
              {}};
  model.parameters = {{"a.weight", at::tensor({-4.0f, 1.0f, 0.0f}).view({3, 1, 1, 1})},
                      {"a.bias", at::tensor({2.0f, 0.5f, -1.0f})},
                      {"b.weight", at::tensor({1.0f, -16.0f, 3.0f, 0.5f, 2.0f, 1.0f}).view({2, 3, 1, 1})}};
  return model;
}

TEST(EqualizeTest, HandComputed) {
  const Model model = HandMade();
  const EqualizeResult result = Do(model, {{"a", {{2, 1, 0}, {1, 0.25, 1}}}, {"b", {{5, 6}, {7, 8}}}});
  const ParameterMap& parameters = result.model.parameters;
  EXPECT_TRUE(at::equal(parameters.at("a.weight"), at::tensor({-2.0f, 4.0f, 0.0f}).view({3, 1, 1, 1})));
  EXPECT_TRUE(at::equal(parameters.at("a.bias"), at::tensor({1.0f, 2.0f, -1.0f})));
  EXPECT_TRUE(
      at::equal(parameters.at("b.weight"), at::tensor({2.0f, -4.0f, 3.0f, 1.0f, 0.5f, 1.0f}).view({2, 3, 1, 1})));
  EXPECT_THAT(result.moments.at("a").mean, ElementsAre(1, 4, 0));
  EXPECT_THAT(result.moments.at("a").std, ElementsAre(0.5, 1, 1));
  EXPECT_THAT(result.moments.at("b").mean, ElementsAre(5, 6));  // What the second puts out stays.

  ASSERT_EQ(result.pairs.size(), 1u);
  const EqualizedPair& pair = result.pairs[0];
  EXPECT_EQ(pair.first, "a");
  EXPECT_EQ(pair.second, "b");
  EXPECT_EQ(pair.first_spread_before, 4);
  EXPECT_EQ(pair.first_spread_after, 2);
  EXPECT_EQ(pair.second_spread_before, 16);
  EXPECT_EQ(pair.second_spread_after, 2);
  EXPECT_EQ(pair.min_scale, 0.5);
  EXPECT_EQ(pair.max_scale, 4);
  EXPECT_EQ(pair.channels, 3);
  EXPECT_EQ(pair.dead, 1);
  EXPECT_EQ(pair.limited, 0);
  EXPECT_EQ(result.iterations, 2);  // The second finds nothing left to do.
  EXPECT_TRUE(at::equal(model.parameters.at("a.bias"), at::tensor({2.0f, 0.5f, -1.0f})));  // Not written to.
}

TEST(EqualizeTest, HoldsScalesWithinTheLimit) {
  EqualizeOptions options;
  options.max_scale = 3;
  const EqualizeResult result = Do(HandMade(), {}, options);
  EXPECT_TRUE(at::equal(result.model.parameters.at("a.weight"), at::tensor({-2.0f, 3.0f, 0.0f}).view({3, 1, 1, 1})));
  EXPECT_EQ(result.pairs[0].max_scale, 3);
  EXPECT_EQ(result.pairs[0].limited, 1);
}

// A chain of three, with groups, a depthwise convolution and a linear layer: ranges are equal on both sides of each
// pair in the end, and the network computes what it did.
TEST(EqualizeTest, BalancesAChainAndChangesNoOutput) {
  const Model model = Uneven(Make({{"input", Input{3, 6, 6}, {}},
                                   {"conv1", Conv(3, 8, 3), {0}},
                                   {"relu1", Relu{}, {1}},
                                   {"conv2", Conv(8, 12, 3, 4), {2}},
                                   {"relu2", Relu{}, {3}},
                                   {"depthwise", Conv(12, 12, 3, 12, /*bias=*/false), {4}},
                                   {"pool", MaxPool{{2, 2}, {2, 2}}, {5}},
                                   {"pad", PadChannels{1, 1}, {6}},
                                   {"flatten", Flatten{}, {7}},
                                   {"fc", Linear{14 * 9, 5}, {8}}}));
  EqualizeOptions options;
  options.iterations = 500;
  options.max_scale = 1e6;
  const EqualizeResult result = Do(model, {}, options);
  EXPECT_LT(result.iterations, 500);
  ASSERT_EQ(result.pairs.size(), 3u);
  ExpectSameFunction(model, result.model, Random({3, 3, 6, 6}, 7));

  const auto range = [&](const char* name, auto reduce) { return reduce(result.model.parameters.at(name).abs()); };
  const at::Tensor out1 = range("conv1.weight", [](at::Tensor w) { return w.flatten(1).amax(1); });
  const at::Tensor in2 = range("conv2.weight", [](at::Tensor w) {
    return w.view({4, 3, 2, 9}).amax({1, 3}).flatten();
  });
  EXPECT_TRUE(at::allclose(out1, in2, 1e-4)) << out1 << in2;
  const at::Tensor out2 = range("conv2.weight", [](at::Tensor w) { return w.flatten(1).amax(1); });
  const at::Tensor in3 = range("depthwise.weight", [](at::Tensor w) { return w.flatten(1).amax(1); });
  EXPECT_TRUE(at::allclose(out2, in3, 1e-4)) << out2 << in3;
  const at::Tensor in4 = range("fc.weight", [](at::Tensor w) {
    return w.view({5, 14, 9}).amax({0, 2}).slice(0, 1, 13);
  });
  EXPECT_TRUE(at::allclose(in3, in4, 1e-4)) << in3 << in4;
  for (const EqualizedPair& pair : result.pairs) {
    EXPECT_NEAR(pair.first_spread_after, pair.second_spread_after, 1e-3 * pair.first_spread_after);
  }
}

TEST(EqualizeTest, TheBlocksOfAFoldedResNet) {
  const auto graph = BuildResnetCifar({20, Shortcut::kOptionB});
  ASSERT_TRUE(graph.ok()) << graph.status();
  Model model{*graph, InitParameters(*graph, 1)};
  for (auto& [name, value] : model.parameters) {
    if (value.dim() == 1) value = value + Random(value.sizes(), 3).mul(0.2).abs();
  }
  const auto folded = FoldBatchNorm(model);
  ASSERT_TRUE(folded.ok()) << folded.status();
  const EqualizeResult result = Do(folded->model, folded->moments);
  EXPECT_EQ(result.pairs.size(), 9u);
  EXPECT_EQ(result.unpaired.size(), 12u);  // The stem, each block's second convolution, two shortcuts.
  EXPECT_NE(result.moments.at("layer1.0.conv1").mean, folded->moments.at("layer1.0.conv1").mean);
  EXPECT_EQ(result.moments.at("layer1.0.conv2").mean, folded->moments.at("layer1.0.conv2").mean);
  ExpectSameFunction(folded->model, result.model, Random({2, 3, 32, 32}, 4));
}

TEST(EqualizeTest, WithoutPairsNothingChanges) {
  const Model model = Uneven(Make({{"input", Input{1, 2, 2}, {}},
                                   {"conv", Conv(1, 2, 1), {0}},
                                   {"bn", BatchNorm{2}, {1}},
                                   {"conv2", Conv(2, 2, 1), {2}}}));
  const EqualizeResult result = Do(model);
  EXPECT_THAT(result.pairs, IsEmpty());
  EXPECT_EQ(result.iterations, 0);
  for (const auto& [name, value] : model.parameters)
    EXPECT_TRUE(result.model.parameters.at(name).is_same(value)) << name;
}

// A layer of nothing but zeros.
TEST(EqualizeTest, LeavesDeadLayersAlone) {
  Model model = HandMade();
  model.parameters["b.weight"] = at::zeros({2, 3, 1, 1});
  const EqualizeResult result = Do(model);
  EXPECT_TRUE(at::equal(result.model.parameters.at("a.weight"), model.parameters.at("a.weight")));
  EXPECT_EQ(result.pairs[0].dead, 3);
  EXPECT_EQ(result.pairs[0].second_spread_after, 1);
}

TEST(EqualizeTest, RefusesNaN) {
  Model model = HandMade();
  model.parameters["b.weight"][0][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Equalize(model, {}).status().message(), "parameter b.weight has 1 NaN or infinite values of 6");
  EXPECT_EQ(AbsorbHighBiases(model, {}).status().message(), "parameter b.weight has 1 NaN or infinite values of 6");
}

// ---- High-bias absorption ----

// c = max(0, 10 - 3) = 7, max(0, 1 - 3) = 0 and max(0, 2.5 - 3 * 0.5) = 1.
TEST(AbsorbHighBiasesTest, HandComputed) {
  const Model model = HandMade();
  const auto result = AbsorbHighBiases(model, {{"a", {{10, 1, 2.5}, {1, 1, 0.5}}}});
  ASSERT_TRUE(result.ok()) << result.status();
  const ParameterMap& parameters = result->model.parameters;
  EXPECT_TRUE(at::equal(parameters.at("a.bias"), at::tensor({-5.0f, 0.5f, -2.0f})));
  EXPECT_TRUE(std::get<Conv2d>(result->model.graph.layer(3).op).bias);
  EXPECT_TRUE(at::equal(parameters.at("b.bias"), at::tensor({7.0f * 1 + 3, 7 * 0.5f + 1})));
  EXPECT_THAT(result->moments.at("a").mean, ElementsAre(3, 1, 1.5));
  ASSERT_EQ(result->pairs.size(), 1u);
  EXPECT_EQ(result->pairs[0].channels, 2);
  EXPECT_EQ(result->pairs[0].max_absorbed, 7);
  EXPECT_TRUE(result->pairs[0].bias_made);
  EXPECT_FALSE(result->pairs[0].pads_with_zeros);
}

// What the first puts out before the ReLU lies above c for these images, and nothing pads: exact.
TEST(AbsorbHighBiasesTest, ChangesNoOutputWhereNothingPadsAndNothingIsCut) {
  Conv2d second = Conv(4, 6, 3, 2);
  second.padding = {0, 0};
  Model model = Uneven(
      Make({{"input", Input{2, 5, 5}, {}}, {"a", Conv(2, 4, 1), {0}}, {"relu", Relu{}, {1}}, {"b", second, {2}}}));
  const at::Tensor images = Random({2, 2, 5, 5}, 9);
  const at::Tensor a =
      Outputs({Make({{"input", Input{2, 5, 5}, {}}, {"a", Conv(2, 4, 1), {0}}}),
               {{"a.weight", model.parameters.at("a.weight")}, {"a.bias", model.parameters.at("a.bias")}}},
              images);
  model.parameters["a.bias"] = model.parameters["a.bias"] - a.amin({0, 2, 3}) + 2;  // Nothing is below 2.
  const auto result = AbsorbHighBiases(model, {{"a", {{2, 1.5, 1, 0}, {0, 0, 0, 0}}}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->pairs[0].bias_made);
  EXPECT_EQ(result->pairs[0].channels, 3);
  ExpectSameFunction(model, result->model, images);
}

TEST(AbsorbHighBiasesTest, SaysWherePaddingMakesItInexact) {
  const Model model = Uneven(Make({{"input", Input{1, 4, 4}, {}},
                                   {"a", Conv(1, 2, 1), {0}},
                                   {"relu", Relu{}, {1}},
                                   {"b", Conv(2, 2, 3), {2}},
                                   {"c", Conv(2, 2, 1), {3}}}));
  const NetworkMoments moments = {{"a", {{4, 4}, {1, 1}}}, {"b", {{4, 4}, {1, 1}}}};
  const auto result = AbsorbHighBiases(model, moments);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->pairs.size(), 1u);  // Not b > c: there is no ReLU between.
  EXPECT_TRUE(result->pairs[0].pads_with_zeros);
}

TEST(AbsorbHighBiasesTest, NeedsMoments) {
  const auto result = AbsorbHighBiases(HandMade(), {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->pairs, IsEmpty());
}

}  // namespace
}  // namespace lowbit
