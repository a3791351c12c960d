#include "lapq/joint_scales.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "evaluation/answer_change.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed, double factor = 1) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(factor * rng.Normal());
  return x;
}

// input [3, 6, 6] -> conv (8 channels, 3x3) -> relu -> pool -> flatten -> fc (5 classes).
Model SmallModel() {
  Conv2d conv;
  conv.in_channels = 3;
  conv.out_channels = 8;
  conv.kernel = {3, 3};
  conv.bias = true;
  auto graph = Graph::Create({{"input", Input{3, 6, 6}, {}},
                              {"conv", conv, {0}},
                              {"relu", Relu{}, {1}},
                              {"pool", GlobalAvgPool{}, {2}},
                              {"flatten", Flatten{}, {3}},
                              {"fc", Linear{8, 5, true}, {4}}});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return Model{*std::move(graph),
               {{"conv.weight", Normal({8, 3, 3, 3}, 1, 0.5)},
                {"conv.bias", Normal({8}, 2, 0.1)},
                {"fc.weight", Normal({5, 8}, 3, 2)},
                {"fc.bias", Normal({5}, 4, 0.1)}}};
}

QuantParams Params(int bits, std::vector<float> scale, bool is_signed = true) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.zero_point.assign(scale.size(), 0);
  params.scale = std::move(scale);
  return params;
}

// Everything at 3 bits, with scales that are `off` times what they should be.
QuantizedModel Quantized(const Model& model, float off) {
  QuantizedModel quantized = *ToQuantizedModel(model);
  for (const std::string layer : {"conv", "fc"}) {
    const at::Tensor& weight = model.parameters.at(layer + ".weight");
    const int64_t channels = weight.size(0);
    std::vector<float> scale;
    for (int64_t c = 0; c < channels; ++c) scale.push_back(off * weight[c].abs().max().item<float>() / 4);
    const QuantParams params = Params(3, scale);
    EXPECT_TRUE(SetWeight(layer, QuantizedTensor{params, Quantize(weight, params)}, &quantized).ok());
  }
  quantized.activations["relu"] = Params(3, {off * 0.8f}, false);
  quantized.activations["input"] = Params(8, {off * 0.03f});
  return quantized;
}

double Kl(const Model& model, const QuantizedModel& quantized, const at::Tensor& images) {
  const auto before = Executor::Create(model.graph, model.parameters)->Forward(images);
  FakeQuantHook hook(quantized);
  const auto after = Executor::Create(quantized.graph, *FakeQuantParameters(quantized))->Forward(images, &hook);
  AnswerChange change;
  EXPECT_TRUE(change.Add(*before, *after).ok());
  return change.kl();
}

TEST(JointScalesTest, RepairsScalesThatAreOff) {
  const Model model = SmallModel();
  const at::Tensor images = Normal({300, 3, 6, 6}, 5);
  for (const float off : {0.5f, 2.0f}) {
    const QuantizedModel start = Quantized(model, off);
    int calls = 0;
    double last = 1e9;
    JointScalesOptions options;
    options.on_evaluation = [&](double kl) {
      ++calls;
      EXPECT_LE(kl, last);
      last = kl;
      return absl::OkStatus();
    };
    const auto result = SearchJointScales(model, start, images, options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_NEAR(result->start_kl, Kl(model, start, images), 1e-9);
    EXPECT_NEAR(result->kl, Kl(model, result->model, images), 1e-9);
    EXPECT_LT(result->kl, 0.5 * result->start_kl) << off;
    EXPECT_LE(result->kl, *std::min_element(result->power_kl.begin(), result->power_kl.end()));
    EXPECT_EQ(calls, result->evaluations);
    EXPECT_GE(result->powers.size(), 5u);
    // Each scale was multiplied by what the result says; eight bits were left alone.
    ASSERT_EQ(result->scales.size(), 3u);
    EXPECT_FLOAT_EQ(result->model.activations.at("relu").scale[0],
                    start.activations.at("relu").scale[0] * static_cast<float>(result->scales[2].factor));
    EXPECT_FLOAT_EQ(result->model.weights.at("conv").params.scale[7],
                    start.weights.at("conv").params.scale[7] * static_cast<float>(result->scales[0].factor));
    EXPECT_EQ(result->model.activations.at("input"), start.activations.at("input"));
  }
}

// An activation of 0 and 1 with one level above 0: by the Lp error its scale has to become 1, whatever p.
TEST(JointScalesTest, LpFactorsByHand) {
  auto graph =
      Graph::Create({{"input", Input{1, 2, 2}, {}}, {"flatten", Flatten{}, {0}}, {"fc", Linear{4, 2, false}, {1}}});
  ASSERT_TRUE(graph.ok());
  at::Tensor weight = at::empty({2, 4}, at::kFloat);
  weight[0].fill_(1);
  weight[1].fill_(-1);
  const Model model{*std::move(graph), {{"fc.weight", weight}}};
  QuantizedModel start = *ToQuantizedModel(model);
  start.activations["input"] = Params(1, {1 / 1.1f}, false);
  const at::Tensor images = (Normal({64, 1, 2, 2}, 6) > 0).to(at::kFloat);
  JointScalesOptions options;
  options.iterations = 0;
  options.powers = {2, 3, 4};
  const auto result = SearchJointScales(model, start, images, options);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->scales.size(), 1u);
  // The nearest candidate: 3^(2 i / 80 - 1) for i = 43 is 1.0859, i = 44 is 1.1161; a bin's middle lies just below 1.
  EXPECT_NEAR(result->scales[0].factor, 1.1, 0.02);
  EXPECT_LT(result->kl, 0.2 * result->start_kl);
}

// As above, with a convolution beside the input that puts out nothing but zeros: no scale is better than another for
// it.
TEST(JointScalesTest, ScalesOfZerosStayAsTheyAre) {
  Conv2d conv;
  conv.in_channels = conv.out_channels = 1;
  conv.kernel = {1, 1};
  auto graph = Graph::Create({{"input", Input{1, 2, 2}, {}},
                              {"zero", conv, {0}},
                              {"add", Add{}, {0, 1}},
                              {"flatten", Flatten{}, {2}},
                              {"fc", Linear{4, 2, false}, {3}}});
  ASSERT_TRUE(graph.ok()) << graph.status();
  at::Tensor weight = at::empty({2, 4}, at::kFloat);
  weight[0].fill_(1);
  weight[1].fill_(-1);
  const at::Tensor zeros = at::zeros({1, 1, 1, 1}, at::kFloat);
  const Model model{*std::move(graph), {{"zero.weight", zeros}, {"fc.weight", weight}}};
  QuantizedModel start = *ToQuantizedModel(model);
  start.activations["input"] = Params(1, {1 / 1.1f}, false);
  start.activations["zero"] = Params(4, {1}, false);
  ASSERT_TRUE(SetWeight("zero", QuantizedTensor{Params(2, {1}), zeros.to(at::kInt)}, &start).ok());
  JointScalesOptions options;
  options.iterations = 0;
  const auto result = SearchJointScales(model, start, (Normal({64, 1, 2, 2}, 6) > 0).to(at::kFloat), options);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->scales.size(), 3u);
  EXPECT_EQ(result->scales[0].layer, "zero");
  EXPECT_EQ(result->scales[0].factor, 1);
  EXPECT_NEAR(result->scales[1].factor, 1.1, 0.02);
  EXPECT_EQ(result->scales[2].layer, "zero");
  EXPECT_EQ(result->scales[2].factor, 1);
}

// One pixel at a corner is read at one position, by eight channels; 8 images put out 8 * 8 * 16 numbers.
TEST(JointScalesTest, NamesTheLayerWhoseOutputIsNotFinite) {
  const Model model = SmallModel();
  at::Tensor images = Normal({8, 3, 6, 6}, 5);
  images[2][1][0][0] = std::nanf("");
  EXPECT_EQ(SearchJointScales(model, Quantized(model, 1), images).status().message(),
            "output of relu: 8 of 1024 values are NaN or infinite (first: image 2)");
}

TEST(JointScalesTest, OnlyActivationsOnRequest) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model, 1.5f);
  JointScalesOptions options;
  options.weights = false;
  const auto result = SearchJointScales(model, start, Normal({64, 3, 6, 6}, 5), options);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->scales.size(), 1u);
  EXPECT_EQ(result->scales[0].layer, "relu");
  EXPECT_EQ(result->model.weights.at("conv").codes, start.weights.at("conv").codes);
  EXPECT_LT(result->kl, result->start_kl);
}

TEST(JointScalesTest, RefusesWeightsWhoseRoundingWasChosen) {
  const Model model = SmallModel();
  QuantizedModel start = Quantized(model, 1);
  at::Tensor codes = UnpackWeight(start.weights.at("fc"));
  codes[2][3] = codes[2][3].item<int>() == 0 ? 1 : 0;
  ASSERT_TRUE(SetWeight("fc", QuantizedTensor{start.weights.at("fc").params, codes}, &start).ok());
  const auto status = SearchJointScales(model, start, Normal({8, 3, 6, 6}, 5)).status();
  EXPECT_EQ(status.message(),
            "fc.weight: is not rounded to the nearest codes, so that new scales would undo the rounding that its "
            "quantizer, or a correction, chose; `weights: false` leaves weights as they are");
}

TEST(JointScalesTest, TheSameEveryTime) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model, 1.3f);
  const at::Tensor images = Normal({40, 3, 6, 6}, 5);
  const auto one = SearchJointScales(model, start, images);
  const auto two = SearchJointScales(model, start, images);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(*SerializeQuantizedModel(one->model), *SerializeQuantizedModel(two->model));
}

}  // namespace
}  // namespace lowbit
