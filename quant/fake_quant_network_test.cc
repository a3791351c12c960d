#include "quant/fake_quant_network.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/executor.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

constexpr int64_t kChannels = 24;  // rows of memory that do not fill a vector

QuantParams Params(int bits, bool is_signed, std::vector<float> scale, float zero_point) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.zero_point.assign(scale.size(), zero_point);
  params.scale = std::move(scale);
  return params;
}

// Numbers without a pattern, within +-size.
at::Tensor Numbers(at::IntArrayRef shape, double size, double seed = 1) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return at::sin((at::arange(count, at::kDouble) * 1.7 + seed).square()).mul(size).to(at::kFloat).view(shape);
}

// input -> conv1 -> relu1 -> conv2 -> add(relu1, conv2) -> relu2 -> flatten -> fc.
Model SmallModel() {
  Conv2d conv1;
  conv1.in_channels = 3;
  conv1.out_channels = kChannels;
  conv1.kernel = {3, 3};
  conv1.padding = {1, 1};
  conv1.bias = true;
  Conv2d conv2 = conv1;
  conv2.in_channels = kChannels;
  auto graph = Graph::Create({{"input", Input{3, 6, 6}, {}},
                              {"conv1", conv1, {0}},
                              {"relu1", Relu{}, {1}},
                              {"conv2", conv2, {2}},
                              {"add", Add{}, {2, 3}},
                              {"relu2", Relu{}, {4}},
                              {"flatten", Flatten{}, {5}},
                              {"fc", Linear{kChannels * 36, 5, true}, {6}}});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return Model{*graph,
               {{"conv1.weight", Numbers({kChannels, 3, 3, 3}, 0.5)},
                {"conv1.bias", Numbers({kChannels}, 0.5, 2)},
                {"conv2.weight", Numbers({kChannels, kChannels, 3, 3}, 0.1)},
                {"conv2.bias", Numbers({kChannels}, 0.5, 3)},
                {"fc.weight", Numbers({5, kChannels * 36}, 0.1)},
                {"fc.bias", Numbers({5}, 1)}}};
}

void QuantizeWeight(const Model& model, const std::string& layer, const QuantParams& params,
                    QuantizedModel* quantized) {
  const at::Tensor& weight = model.parameters.at(layer + ".weight");
  ASSERT_TRUE(SetWeight(layer, {params, Quantize(weight, params)}, quantized).ok());
}

std::vector<float> Scales(float first) {
  std::vector<float> scales;
  for (int64_t c = 0; c < kChannels; ++c) scales.push_back(first * (1 + 0.03f * static_cast<float>(c)));
  return scales;
}

// The last layer's input is float.
QuantizedModel Quantized(const Model& model, int weight_bits, int activation_bits) {
  QuantizedModel quantized = *ToQuantizedModel(model);
  const float zero_point = weight_bits == 1 ? -0.5f : 0;
  const float step = 1.0f / static_cast<float>(1 << weight_bits);
  QuantizeWeight(model, "conv1", Params(weight_bits, true, Scales(step), zero_point), &quantized);
  QuantizeWeight(model, "conv2", Params(weight_bits, true, {0.2f * step}, zero_point), &quantized);
  QuantizeWeight(model, "fc", Params(8, true, {0.001f}, 0), &quantized);
  const float levels = static_cast<float>(1 << activation_bits);
  quantized.activations["input"] = Params(8, false, {0.0123f}, 101);
  quantized.activations["relu1"] = Params(activation_bits, false, {4 / levels}, 0);
  return quantized;
}

at::Tensor Images(int64_t count = 6, int64_t side = 6) { return Numbers({count, 3, side, side}, 1.4); }

at::Tensor Answers(const QuantizedModel& quantized, const at::Tensor& images) {
  const auto network = FakeQuantNetwork::Create(quantized);
  EXPECT_TRUE(network.ok()) << network.status();
  const auto logits = network->Forward(images);
  EXPECT_TRUE(logits.ok()) << logits.status();
  return *logits;
}

at::Tensor AnswersWithHook(const QuantizedModel& quantized, const at::Tensor& images) {
  const auto executor = Executor::Create(quantized.graph, *FakeQuantParameters(quantized));
  FakeQuantHook hook(quantized);
  return *executor->Forward(images, &hook);
}

// What a layer's sums become by the definition (docs/numerics.md), in units of s_out: sums and constants in float64,
// which holds them exactly, and a rounding to float32 for each operation. `codes`: what it reads, from 0.
at::Tensor ByDefinition(const QuantizedModel& quantized, const std::string& layer, const QuantParams& input,
                        const at::Tensor& codes, double s_out) {
  const PackedWeight& weight = quantized.weights.at(layer);
  const at::Tensor steps = UnpackWeight(weight).to(at::kDouble).sub(static_cast<double>(weight.params.zero_point[0]));
  const at::Tensor sums = at::conv2d(codes.to(at::kDouble), steps, /*bias=*/{}, /*stride=*/1, /*padding=*/1);
  const at::Tensor zeros = at::conv2d(at::full_like(codes.slice(0, 0, 1), input.zero_point[0]).to(at::kDouble), steps,
                                      /*bias=*/{}, /*stride=*/1, /*padding=*/1);
  EXPECT_LT(sums.abs().max().item<double>(), 1 << 24);
  std::vector<double> scales;
  for (size_t c = 0; c < static_cast<size_t>(kChannels); ++c) {
    const float scale = weight.params.scale[weight.params.per_channel() ? c : 0];
    scales.push_back(static_cast<double>(scale) * static_cast<double>(input.scale[0]));
  }
  const at::Tensor scale = at::tensor(scales, at::kDouble).view({1, -1, 1, 1});
  const at::Tensor bias = FakeQuantParameters(quantized)->at(layer + ".bias").to(at::kDouble).view({1, -1, 1, 1});
  return sums.to(at::kFloat).mul((scale / s_out).to(at::kFloat)).add(((bias - scale * zeros) / s_out).to(at::kFloat));
}

struct Width {
  int weights, activations;
};

class WidthTest : public testing::TestWithParam<Width> {};

TEST_P(WidthTest, SumsAreExact) {
  const Model model = SmallModel();
  const QuantizedModel quantized = Quantized(model, GetParam().weights, GetParam().activations);
  const auto network = FakeQuantNetwork::Create(quantized);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_TRUE(network->HasExactSums("conv1"));
  EXPECT_TRUE(network->HasExactSums("conv2"));
  EXPECT_FALSE(network->HasExactSums("fc")) << "its input is float";
  EXPECT_FALSE(network->HasExactSums("relu1"));
  EXPECT_FALSE(network->HasExactSums("nowhere"));

  const at::Tensor images = Images();
  const at::Tensor before = images.clone();
  const auto logits = network->Forward(images);
  ASSERT_TRUE(logits.ok()) << logits.status();
  EXPECT_TRUE(at::equal(images, before));

  const QuantParams& input = quantized.activations.at("input");
  const QuantParams& relu1 = quantized.activations.at("relu1");
  const at::Tensor v = ByDefinition(quantized, "conv1", input, Quantize(images, input), relu1.scale[0]);
  const at::Tensor codes = v.clamp(0, relu1.qmax()).round();
  const at::Tensor sum = ByDefinition(quantized, "conv2", relu1, codes, 1) + codes * relu1.scale[0];
  const ParameterMap parameters = *FakeQuantParameters(quantized);
  const at::Tensor wanted = at::linear(sum.relu().flatten(1), parameters.at("fc.weight"), parameters.at("fc.bias"));
  EXPECT_TRUE(at::equal(*logits, wanted)) << (*logits - wanted).abs().max().item<float>();
}

TEST_P(WidthTest, AnswersAreThoseOfTheFakeQuantizedValues) {
  const QuantizedModel quantized = Quantized(SmallModel(), GetParam().weights, GetParam().activations);
  const at::Tensor images = Images(), wanted = AnswersWithHook(quantized, images);
  // A code may be another where a sum lies in the middle between two.
  EXPECT_LT((Answers(quantized, images) - wanted).abs().max().item<float>(), 0.02f * wanted.abs().max().item<float>());
}

INSTANTIATE_TEST_SUITE_P(Widths, WidthTest,
                         testing::Values(Width{8, 8}, Width{4, 4}, Width{1, 8}, Width{2, 2}, Width{1, 1}),
                         [](const auto& info) {
                           return "W" + std::to_string(info.param.weights) + "A" +
                                  std::to_string(info.param.activations);
                         });

TEST(FakeQuantNetworkTest, DependsOnNeitherTheBatchNorTheThreads) {
  const Model model = SmallModel();
  QuantizedModel quantized = Quantized(model, 4, 8);
  quantized.activations["relu2"] = Params(8, false, {0.03f}, 0);
  const at::Tensor images = Images();
  at::set_num_threads(1);
  std::vector<at::Tensor> one_by_one;
  for (int64_t i = 0; i < images.size(0); ++i) one_by_one.push_back(Answers(quantized, images.slice(0, i, i + 1)));
  at::set_num_threads(2);
  // The linear layer's input is what flatten puts out, of which nobody has said that it is on a grid.
  EXPECT_LT((Answers(quantized, images) - at::cat(one_by_one)).abs().max().item<float>(), 1e-5f);
  quantized.activations["flatten"] = quantized.activations["relu2"];
  QuantizeWeight(model, "fc", Params(4, true, {0.01f}, 0), &quantized);
  one_by_one.clear();
  at::set_num_threads(1);
  for (int64_t i = 0; i < images.size(0); ++i) one_by_one.push_back(Answers(quantized, images.slice(0, i, i + 1)));
  at::set_num_threads(2);
  EXPECT_TRUE(at::equal(Answers(quantized, images), at::cat(one_by_one)));
}

// input -> conv (stride 2) -> add(conv, input at every other pixel with channels of zeros) -> relu -> mean -> flatten.
// All grids have zero points.
QuantizedModel PaddedShortcut() {
  Conv2d conv;
  conv.in_channels = 3;
  conv.out_channels = kChannels;
  conv.kernel = {3, 3};
  conv.stride = {2, 2};
  conv.padding = {1, 1};
  auto graph = Graph::Create({{"input", Input{3, 14, 14}, {}},
                              {"conv", conv, {0}},
                              {"subsample", Subsample{{2, 2}}, {0}},
                              {"pad", PadChannels{4, kChannels - 7}, {2}},
                              {"add", Add{}, {1, 3}},
                              {"relu", Relu{}, {4}},
                              {"mean", GlobalAvgPool{}, {5}},
                              {"flatten", Flatten{}, {6}}});
  EXPECT_TRUE(graph.ok()) << graph.status();
  const Model model{*graph, {{"conv.weight", Numbers({kChannels, 3, 3, 3}, 0.5)}}};
  QuantizedModel quantized = *ToQuantizedModel(model);
  QuantizeWeight(model, "conv", Params(8, true, Scales(0.005f), 3), &quantized);
  quantized.activations["input"] = Params(8, false, {0.0123f}, 101);
  quantized.activations["relu"] = Params(8, false, {0.017f}, 6);
  return quantized;
}

TEST(FakeQuantNetworkTest, ShortcutsBringTheirZeroPoint) {
  const QuantizedModel quantized = PaddedShortcut();
  EXPECT_TRUE(FakeQuantNetwork::Create(quantized)->HasExactSums("conv"));
  const at::Tensor images = Images(20, 14), wanted = AnswersWithHook(quantized, images);
  // A mean of 49, of which one code may be another.
  EXPECT_LE((Answers(quantized, images) - wanted).abs().max().item<float>(), 0.018f / 49);
  EXPECT_GT(wanted.abs().max().item<float>(), 0.5f);
}

TEST(FakeQuantNetworkTest, MeansAreOfExactSums) {
  QuantizedModel quantized = PaddedShortcut();
  quantized.activations["relu"] = Params(8, false, {0.017f}, 0);
  const auto network = FakeQuantNetwork::Create(quantized);
  EXPECT_TRUE(network->HasExactSums("mean"));
  const at::Tensor images = Images(200, 14), got = *network->Forward(images);
  const double scale = static_cast<double>(0.017f);
  const at::Tensor sums = (got.to(at::kDouble) * (49 / scale)).round();
  EXPECT_TRUE(at::equal(got, sums.to(at::kFloat).mul(static_cast<float>(scale / 49))));
  EXPECT_LT((got - AnswersWithHook(quantized, images)).abs().max().item<float>(), 0.018f / 49);
}

TEST(FakeQuantNetworkTest, GridsOfLevels) {
  QuantizedModel quantized = Quantized(SmallModel(), 4, 4);
  QuantParams levels = Params(4, false, {0.1f}, 0);
  levels.levels = {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48};
  quantized.activations["relu1"] = levels;
  EXPECT_TRUE(FakeQuantNetwork::Create(quantized)->HasExactSums("conv2"));
  const at::Tensor images = Images(), wanted = AnswersWithHook(quantized, images);
  EXPECT_LT((Answers(quantized, images) - wanted).abs().max().item<float>(), 0.02f * wanted.abs().max().item<float>());
}

// Where sums cannot be exact the numbers are those of the fake-quantized values, to the bit.
TEST(FakeQuantNetworkTest, WhatHasNoWholeStepsStaysAsItWas) {
  const Model model = SmallModel();
  struct Case {
    const char* what;
    void (*change)(const Model&, QuantizedModel*);
  };
  const Case cases[] = {
      {"16 bits", [](const Model&, QuantizedModel* q) { q->activations["relu1"] = Params(16, false, {1e-4f}, 0); }},
      {"16 bits of weights",
       [](const Model& m, QuantizedModel* q) { QuantizeWeight(m, "conv2", Params(16, true, {1e-5f}, 0), q); }},
      {"bases",
       [](const Model& m, QuantizedModel* q) {
         QuantParams bases = Params(2, true, {0.05f}, 0);
         bases.bases = {0.4f};
         QuantizeWeight(m, "conv2", bases, q);
       }},
      {"a float input", [](const Model&, QuantizedModel* q) { q->activations.erase("relu1"); }},
      {"sums that may be too large",
       [](const Model&, QuantizedModel* q) {
         q->activations["relu1"] = Params(8, false, {1e-3f}, 0);
         q->activations["relu1"].levels = {0, 1, 30000, 32000};
       }},
  };
  for (const Case& c : cases) {
    QuantizedModel quantized = Quantized(model, 4, 4);
    c.change(model, &quantized);
    quantized.activations.erase("input");  // nor is conv1 exact, then
    const auto network = FakeQuantNetwork::Create(quantized);
    ASSERT_TRUE(network.ok()) << c.what << ": " << network.status();
    EXPECT_FALSE(network->HasExactSums("conv2")) << c.what;
    EXPECT_TRUE(at::equal(*network->Forward(Images()), AnswersWithHook(quantized, Images()))) << c.what;
  }
}

TEST(FakeQuantNetworkTest, RefusesWhatIsNotAModel) {
  QuantizedModel quantized = Quantized(SmallModel(), 4, 4);
  quantized.parameters.erase("fc.bias");
  const auto network = FakeQuantNetwork::Create(quantized);
  EXPECT_EQ(network.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(network.status().message().find("fc.bias"), absl::string_view::npos) << network.status();
}

TEST(FakeQuantNetworkTest, RefusesScalesThatFloat32DoesNotHoldTogether) {
  QuantizedModel quantized = Quantized(SmallModel(), 4, 4);
  quantized.activations["relu1"].scale = {1e-44f};
  EXPECT_EQ(FakeQuantNetwork::Create(quantized).status(),
            absl::InvalidArgumentError("layer \"conv1\": its scales are too far apart for float32"));
}

// The network's output may be quantized, too: numbers come out, not codes.
TEST(FakeQuantNetworkTest, PutsOutNumbers) {
  const Model model = SmallModel();
  QuantizedModel quantized = Quantized(model, 4, 4);
  quantized.activations["flatten"] = Params(8, false, {0.03f}, 2);
  quantized.activations["fc"] = Params(8, false, {0.05f}, 100);
  QuantizeWeight(model, "fc", Params(4, true, {0.01f}, 0), &quantized);
  EXPECT_TRUE(FakeQuantNetwork::Create(quantized)->HasExactSums("fc"));
  const at::Tensor images = Images(), got = Answers(quantized, images), wanted = AnswersWithHook(quantized, images);
  EXPECT_TRUE(at::equal(got, FakeQuantize(got, quantized.activations["fc"])));
  EXPECT_LE((got - wanted).abs().max().item<float>(), 0.051f);
  EXPECT_GT(wanted.abs().max().item<float>(), 0.5f);
}

}  // namespace
}  // namespace lowbit
