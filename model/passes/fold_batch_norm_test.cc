#include "model/passes/fold_batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/model_testing.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// As InitParameters, but with batch norms and biases that do something.
Model Randomised(Graph graph) {
  ParameterMap parameters = InitParameters(graph, 1);
  uint64_t seed = 100;
  for (auto& [name, value] : parameters) {
    if (value.dim() > 1) continue;
    const at::Tensor noise = Random(value.sizes(), ++seed).mul(0.3);
    value = name.find("running_var") == std::string::npos ? value + noise : value + noise.abs();
  }
  return {std::move(graph), std::move(parameters)};
}

FoldResult Fold(const Model& model) {
  auto result = FoldBatchNorm(model);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

std::string Refusal(const Model& model) {
  const absl::Status status = FoldBatchNorm(model).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

at::Tensor Logits(const Model& model, const at::Tensor& images) {
  const auto executor = Executor::Create(model.graph, model.parameters);
  EXPECT_TRUE(executor.ok()) << executor.status();
  const auto logits = executor->Forward(images);
  EXPECT_TRUE(logits.ok()) << logits.status();
  return *logits;
}

std::vector<std::string> Names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Layer& layer : graph.layers()) names.push_back(layer.name);
  return names;
}

// input [1, 1, 1] -> conv (2 channels, 1x1) -> bn (eps 0.75).
Model ConvBn(bool bias) {
  Conv2d conv{1, 2};
  conv.bias = bias;
  Model model{Make({{"input", Input{1, 1, 1}, {}}, {"conv", conv, {0}}, {"bn", BatchNorm{2, 0.75}, {1}}}), {}};
  model.parameters = {{"conv.weight", at::tensor({2.0f, -3.0f}).view({2, 1, 1, 1})},
                      {"bn.weight", at::tensor({1.5f, -0.5f})},
                      {"bn.bias", at::tensor({0.25f, -0.125f})},
                      {"bn.running_mean", at::tensor({0.5f, -4.0f})},
                      {"bn.running_var", at::tensor({0.25f, 15.25f})}};
  if (bias) model.parameters["conv.bias"] = at::tensor({1.0f, 2.0f});
  return model;
}

// s = 1.5 / sqrt(0.25 + 0.75) = 1.5 and -0.5 / sqrt(15.25 + 0.75) = -0.125.
TEST(FoldBatchNormTest, HandComputedWithoutBias) {
  const FoldResult result = Fold(ConvBn(/*bias=*/false));
  EXPECT_THAT(Names(result.model.graph), ElementsAre("input", "conv"));
  EXPECT_TRUE(std::get<Conv2d>(result.model.graph.layer(1).op).bias);
  ASSERT_EQ(result.model.parameters.size(), 2u);
  EXPECT_TRUE(at::equal(result.model.parameters.at("conv.weight"), at::tensor({3.0f, 0.375f}).view({2, 1, 1, 1})));
  // -0.5 * 1.5 + 0.25 and 4 * -0.125 - 0.125.
  EXPECT_TRUE(at::equal(result.model.parameters.at("conv.bias"), at::tensor({-0.5f, -0.625f})));
  ASSERT_EQ(result.folded.size(), 1u);
  EXPECT_EQ(result.folded[0].layer, "conv");
  EXPECT_EQ(result.folded[0].batch_norm, "bn");
  EXPECT_TRUE(result.folded[0].bias_made);
  EXPECT_THAT(result.not_folded, IsEmpty());
  // The batch norm's bias; 1.5 * 0.5 / 1 and 0.5 * sqrt(15.25) / 4.
  ASSERT_EQ(result.moments.count("conv"), 1u);
  EXPECT_THAT(result.moments.at("conv").mean, ElementsAre(0.25, -0.125));
  EXPECT_THAT(result.moments.at("conv").std, ElementsAre(0.75, testing::DoubleEq(std::sqrt(15.25) / 8)));
}

TEST(FoldBatchNormTest, HandComputedWithBias) {
  const FoldResult result = Fold(ConvBn(/*bias=*/true));
  EXPECT_TRUE(at::equal(result.model.parameters.at("conv.weight"), at::tensor({3.0f, 0.375f}).view({2, 1, 1, 1})));
  // (1 - 0.5) * 1.5 + 0.25 and (2 + 4) * -0.125 - 0.125.
  EXPECT_TRUE(at::equal(result.model.parameters.at("conv.bias"), at::tensor({1.0f, -0.875f})));
  ASSERT_EQ(result.folded.size(), 1u);
  EXPECT_FALSE(result.folded[0].bias_made);
}

// Rounded once, at the end: arithmetic in float would miss some of so many numbers by a bit.
TEST(FoldBatchNormTest, CalculatesInDouble) {
  Conv2d conv{3, 64, {3, 3}};
  conv.bias = true;
  const double eps = 1e-3;
  const Model model =
      Randomised(Make({{"input", Input{3, 4, 4}, {}}, {"conv", conv, {0}}, {"bn", BatchNorm{64, eps}, {1}}}));
  const ParameterMap folded = Fold(model).model.parameters;
  const auto at_channel = [&](const char* name, int64_t c) {
    return static_cast<double>(model.parameters.at(name).data_ptr<float>()[c]);
  };
  for (int64_t c = 0; c < 64; ++c) {
    const double s = at_channel("bn.weight", c) / std::sqrt(at_channel("bn.running_var", c) + eps);
    EXPECT_EQ(folded.at("conv.bias")[c].item<float>(),
              static_cast<float>((at_channel("conv.bias", c) - at_channel("bn.running_mean", c)) * s +
                                 at_channel("bn.bias", c)));
    for (int64_t k = 0; k < 27; ++k) {
      EXPECT_EQ(folded.at("conv.weight").data_ptr<float>()[c * 27 + k],
                static_cast<float>(at_channel("conv.weight", c * 27 + k) * s));
    }
  }
}

TEST(FoldBatchNormTest, NetworksComputeTheSame) {
  for (const Shortcut shortcut : {Shortcut::kOptionA, Shortcut::kOptionB}) {
    const auto graph = BuildResnetCifar({20, shortcut});
    ASSERT_TRUE(graph.ok()) << graph.status();
    const Model model = Randomised(*graph);
    const FoldResult result = Fold(model);
    EXPECT_EQ(result.folded.size(), shortcut == Shortcut::kOptionA ? 19u : 21u);
    EXPECT_THAT(result.not_folded, IsEmpty());
    EXPECT_EQ(result.model.graph.size(), model.graph.size() - static_cast<int>(result.folded.size()));
    EXPECT_EQ(result.folded[0].layer, "conv1");
    EXPECT_EQ(result.folded[2].batch_norm, "layer1.0.bn2");
    const at::Tensor images = Random({4, 3, 32, 32}, 9);
    const at::Tensor before = Logits(model, images);
    const at::Tensor after = Logits(result.model, images);
    ASSERT_EQ(before.sizes(), after.sizes());
    EXPECT_LE((before - after).abs().max().item<double>(), 1e-4 * before.abs().max().item<double>());
    EXPECT_GT((before[0] - before[1]).abs().max().item<double>(), 1e-3);  // Not because nothing arrives.
  }
}

TEST(FoldBatchNormTest, GroupedConvolutionsAndLinearLayers) {
  Conv2d conv{4, 6, {3, 3}};
  conv.groups = 2;
  const Model model = Randomised(Make({{"input", Input{4, 5, 5}, {}},
                                       {"conv", conv, {0}},
                                       {"bn1", BatchNorm{6}, {1}},
                                       {"flatten", Flatten{}, {2}},
                                       {"fc1", Linear{54, 7, false}, {3}},
                                       {"bn2", BatchNorm{7}, {4}},
                                       {"relu", Relu{}, {5}},
                                       {"fc2", Linear{7, 3}, {6}},
                                       {"bn3", BatchNorm{3}, {7}}}));
  const FoldResult result = Fold(model);
  EXPECT_THAT(Names(result.model.graph), ElementsAre("input", "conv", "flatten", "fc1", "relu", "fc2"));
  ASSERT_EQ(result.folded.size(), 3u);
  EXPECT_EQ(result.folded[1].layer, "fc1");
  EXPECT_TRUE(result.folded[1].bias_made);
  EXPECT_EQ(result.folded[2].batch_norm, "bn3");
  EXPECT_FALSE(result.folded[2].bias_made);
  EXPECT_TRUE(std::get<Linear>(result.model.graph.layer(3).op).bias);
  const at::Tensor images = Random({3, 4, 5, 5}, 11);
  const at::Tensor before = Logits(model, images);
  EXPECT_LE((before - Logits(result.model, images)).abs().max().item<double>(),
            1e-5 * before.abs().max().item<double>());
}

// ---- What stays ----

TEST(FoldBatchNormTest, NamesWhatCannotBeFolded) {
  Conv2d conv{2, 2};
  const Model model = Randomised(Make({{"input", Input{2, 3, 3}, {}},
                                       {"bn0", BatchNorm{2}, {0}},
                                       {"conv1", conv, {1}},
                                       {"bn1", BatchNorm{2}, {2}},
                                       {"add", Add{}, {3, 2}},
                                       {"conv2", conv, {4}},
                                       {"relu", Relu{}, {5}},
                                       {"bn2", BatchNorm{2}, {6}},
                                       {"conv3", conv, {7}},
                                       {"bn3", BatchNorm{2}, {8}},
                                       {"bn4", BatchNorm{2}, {9}}}));
  const FoldResult result = Fold(model);
  EXPECT_THAT(result.not_folded, ElementsAre("bn0: it reads \"input\" (Input), not a Conv2d or Linear",
                                             "bn1: \"conv1\" is also read by \"add\"",
                                             "bn2: it reads \"relu\" (Relu), not a Conv2d or Linear",
                                             "bn4: it reads \"bn3\" (BatchNorm), not a Conv2d or Linear"));
  ASSERT_EQ(result.folded.size(), 1u);
  EXPECT_EQ(result.folded[0].batch_norm, "bn3");
  EXPECT_THAT(Names(result.model.graph),
              ElementsAre("input", "bn0", "conv1", "bn1", "add", "conv2", "relu", "bn2", "conv3", "bn4"));
  EXPECT_THAT(result.model.graph.layer(9).inputs, ElementsAre(8));
  EXPECT_FALSE(std::get<Conv2d>(result.model.graph.layer(2).op).bias);
  const at::Tensor images = Random({2, 2, 3, 3}, 12);
  const at::Tensor before = Logits(model, images);
  EXPECT_LE((before - Logits(result.model, images)).abs().max().item<double>(),
            1e-5 * before.abs().max().item<double>());
}

TEST(FoldBatchNormTest, NamesTheOtherReaderWhicheverComesFirst) {
  const Model model = Randomised(Make({{"input", Input{2, 3, 3}, {}},
                                       {"conv", Conv2d{2, 2}, {0}},
                                       {"relu", Relu{}, {1}},
                                       {"bn", BatchNorm{2}, {1}},
                                       {"add", Add{}, {2, 3}}}));
  EXPECT_THAT(Fold(model).not_folded, ElementsAre("bn: \"conv\" is also read by \"relu\""));
}

TEST(FoldBatchNormTest, WithoutBatchNormNothingChanges) {
  const Model folded = Fold(ConvBn(/*bias=*/true)).model;
  const FoldResult again = Fold(folded);
  EXPECT_THAT(again.folded, IsEmpty());
  EXPECT_THAT(again.not_folded, IsEmpty());
  EXPECT_EQ(Names(again.model.graph), Names(folded.graph));
  ASSERT_EQ(again.model.parameters.size(), folded.parameters.size());
  for (const auto& [name, value] : folded.parameters) {
    EXPECT_TRUE(again.model.parameters.at(name).is_same(value)) << name;  // Shared, not copied.
  }
}

TEST(FoldBatchNormTest, TheGivenModelIsNotChanged) {
  const Model model = ConvBn(/*bias=*/true);
  const ParameterMap before = CloneParameters(model.parameters);
  Fold(model);
  EXPECT_EQ(model.graph.size(), 3);
  ASSERT_EQ(model.parameters.size(), before.size());
  for (const auto& [name, value] : before) EXPECT_TRUE(at::equal(model.parameters.at(name), value)) << name;
}

// ---- Errors ----

TEST(FoldBatchNormTest, RefusesVariancesWithoutARoot) {
  Model model = ConvBn(/*bias=*/false);
  model.parameters["bn.running_var"] = at::tensor({1.0f, -0.5f});
  EXPECT_EQ(Refusal(model),
            "layer \"bn\" (BatchNorm): running_var of channel 1 is -0.5, with eps 0.75; it must not be negative nor "
            "the sum zero");
  model.graph = Make({{"input", Input{1, 1, 1}, {}}, {"conv", Conv2d{1, 2}, {0}}, {"bn", BatchNorm{2, 0}, {1}}});
  model.parameters["bn.running_var"] = at::tensor({0.0f, 1.0f});
  EXPECT_EQ(
      Refusal(model),
      "layer \"bn\" (BatchNorm): running_var of channel 0 is 0, with eps 0; it must not be negative nor the sum zero");
}

TEST(FoldBatchNormTest, RefusesBadParameters) {
  Model model = ConvBn(/*bias=*/false);
  model.parameters["bn.bias"][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Refusal(model), "parameter bn.bias has 1 NaN or infinite values of 2");
  model.parameters.erase("bn.bias");
  EXPECT_EQ(Refusal(model), "missing parameters: bn.bias");
}

TEST(FoldBatchNormTest, RefusesWhatOverflowsFloat) {
  Model model = ConvBn(/*bias=*/false);
  model.parameters["bn.weight"] = at::full({2}, 3e38, at::kFloat);
  model.parameters["bn.running_mean"] = at::full({2}, 0.0, at::kFloat);
  EXPECT_EQ(Refusal(model), "parameter conv.weight has 1 NaN or infinite values of 2");
}

}  // namespace
}  // namespace lowbit
