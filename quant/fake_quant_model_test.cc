#include "quant/fake_quant_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

QuantParams Params(int bits, std::vector<float> scale, float zero_point) {
  QuantParams params;
  params.bits = bits;
  params.zero_point.assign(scale.size(), zero_point);
  params.scale = std::move(scale);
  return params;
}

at::Tensor Ramp(at::IntArrayRef shape, double step) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  return (at::arange(size, at::kFloat).view(shape) - at::full({}, static_cast<double>(size / 2))) * at::full({}, step);
}

// input [2, 4, 4] -> conv (3 channels, 3x3) -> relu -> shortcut: add(relu, conv2(relu)) -> flatten -> fc.
Model SmallModel() {
  Conv2d conv1;
  conv1.in_channels = 2;
  conv1.out_channels = 3;
  conv1.kernel = {3, 3};
  conv1.padding = {1, 1};
  conv1.bias = true;
  Conv2d conv2 = conv1;
  conv2.in_channels = 3;
  conv2.bias = false;
  auto graph = Graph::Create({{"input", Input{2, 4, 4}, {}},
                              {"conv1", conv1, {0}},
                              {"relu", Relu{}, {1}},
                              {"conv2", conv2, {2}},
                              {"add", Add{}, {2, 3}},
                              {"flatten", Flatten{}, {4}},
                              {"fc", Linear{48, 2, true}, {5}}});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return Model{*graph,
               {{"conv1.weight", Ramp({3, 2, 3, 3}, 0.05)},
                {"conv1.bias", Ramp({3}, 0.5)},
                {"conv2.weight", Ramp({3, 3, 3, 3}, -0.02)},
                {"fc.weight", Ramp({2, 48}, 0.03)},
                {"fc.bias", Ramp({2}, 1)}}};
}

TEST(FakeQuantModelTest, StartsWithEverythingInFloat) {
  const Model model = SmallModel();
  const auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  EXPECT_TRUE(quantized->weights.empty());
  const auto parameters = FakeQuantParameters(*quantized);
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  ASSERT_EQ(parameters->size(), 5u);
  for (const auto& [name, tensor] : model.parameters) EXPECT_TRUE(at::equal(parameters->at(name), tensor)) << name;
  EXPECT_EQ(WeightBytes(*quantized), FloatWeightBytes(model.graph));
}

TEST(FakeQuantModelTest, RefusesBadParameters) {
  Model model = SmallModel();
  model.parameters["conv2.weight"] = at::full({3, 3, 3, 3}, std::numeric_limits<float>::quiet_NaN());
  const auto quantized = ToQuantizedModel(model);
  EXPECT_EQ(quantized.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(quantized.status().message().find("conv2.weight"), absl::string_view::npos) << quantized.status();
}

TEST(FakeQuantModelTest, WeightsBecomeTheValuesOfTheirCodes) {
  const Model model = SmallModel();
  auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok());
  const QuantParams params = Params(3, {0.1f, 0.2f, 0.05f}, 1);
  const at::Tensor weight = model.parameters.at("conv2.weight");
  // Channels-last codes must be packed in the weight's own order.
  const at::Tensor codes = Quantize(weight.contiguous(at::MemoryFormat::ChannelsLast), params);
  ASSERT_TRUE(SetWeight("conv2", QuantizedTensor{params, codes}, &*quantized).ok());
  EXPECT_EQ(quantized->parameters.count("conv2.weight"), 0u);
  EXPECT_TRUE(at::equal(UnpackWeight(quantized->weights.at("conv2")), codes));
  const auto parameters = FakeQuantParameters(*quantized);
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  EXPECT_TRUE(at::equal(parameters->at("conv2.weight"), FakeQuantize(weight, params)));
  // 27 codes of 3 bits: 11 bytes for each of 3 rows; 3 scales, 3 zero points.
  EXPECT_EQ(WeightBytes(*quantized), FloatWeightBytes(model.graph) - 81 * 4 + 3 * 11 + 24);

  // A weight can be set again.
  const QuantParams other = Params(8, {0.01f}, 0);
  ASSERT_TRUE(SetWeight("conv2", QuantizedTensor{other, Quantize(weight, other)}, &*quantized).ok());
  EXPECT_EQ(quantized->weights.at("conv2").params, other);
}

TEST(FakeQuantModelTest, SetWeightRefusesWhatDoesNotFit) {
  auto quantized = ToQuantizedModel(SmallModel());
  ASSERT_TRUE(quantized.ok());
  const auto error = [&](absl::string_view layer, const QuantParams& params, const at::Tensor& codes) {
    return std::string(SetWeight(layer, QuantizedTensor{params, codes}, &*quantized).message());
  };
  const at::Tensor codes = at::zeros({3, 3, 3, 3}, at::kInt);
  EXPECT_EQ(error("conv3", Params(8, {1}, 0), codes),
            "conv3.weight: the network has no layer of this name with a weight");
  EXPECT_EQ(error("relu", Params(8, {1}, 0), codes),
            "relu.weight: the network has no layer of this name with a weight");
  EXPECT_EQ(error("conv2", Params(8, {1}, 0), at::zeros({3, 27}, at::kInt)),
            "conv2.weight: expected int32 codes of shape [3, 3, 3, 3], got shape [3, 27]");
  EXPECT_EQ(error("conv2", Params(8, {1, 1}, 0), codes), "conv2.weight: expected 1 or 3 scales, got 2");
  EXPECT_EQ(error("conv2", Params(8, {0}, 0), codes), "conv2.weight: scale[0] must be finite and above 0, got 0");
  EXPECT_TRUE(quantized->weights.empty());
}

TEST(FakeQuantModelTest, SetParameterGivesOneParameterNewNumbers) {
  const Model model = SmallModel();
  QuantizedModel quantized = *ToQuantizedModel(model);
  at::Tensor bias = at::full({3, 2}, 7.0f);
  bias.select(1, 0).copy_(Ramp({3}, -2));
  ASSERT_TRUE(SetParameter("conv1.bias", bias.select(1, 0), &quantized).ok());  // every other number of those
  bias.fill_(100);
  const auto parameters = FakeQuantParameters(quantized);
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  for (const auto& [name, value] : model.parameters) {
    EXPECT_TRUE(at::equal(parameters->at(name), name == "conv1.bias" ? Ramp({3}, -2) : value)) << name;
  }
}

TEST(FakeQuantModelTest, SetParameterRefusesWhatDoesNotFit) {
  QuantizedModel quantized = *ToQuantizedModel(SmallModel());
  const auto message = [&](const char* name, const at::Tensor& value) {
    return std::string(SetParameter(name, value, &quantized).message());
  };
  EXPECT_EQ(message("conv2.bias", at::zeros({3})), "conv2.bias: there is no such parameter in float");
  EXPECT_EQ(message("conv1.bias", at::zeros({4})), "conv1.bias: expected F32 of shape [3], got Float of shape [4]");
  EXPECT_EQ(message("conv1.bias", at::zeros({3}, at::kDouble)),
            "conv1.bias: expected F32 of shape [3], got Double of shape [3]");
  const QuantizedTensor weight{Params(2, {1}, 0), at::zeros({2, 48}, at::kInt)};
  ASSERT_TRUE(SetWeight("fc", weight, &quantized).ok());
  EXPECT_EQ(message("fc.weight", at::zeros({2, 48})), "fc.weight: there is no such parameter in float") << "packed";
}

// All readers of a quantized tensor, the shortcut too, see the quantized values; the caller's images stay as they are.
TEST(FakeQuantModelTest, HookQuantizesOutputsForAllReaders) {
  const Model model = SmallModel();
  auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok());
  quantized->activations["input"] = Params(4, {0.3f}, 1);
  quantized->activations["relu"] = Params(3, {0.7f}, -4);
  quantized->activations["flatten"] = Params(8, {0.2f}, 0);
  const auto parameters = FakeQuantParameters(*quantized);
  ASSERT_TRUE(parameters.ok());
  const auto executor = Executor::Create(quantized->graph, *parameters);
  ASSERT_TRUE(executor.ok()) << executor.status();
  FakeQuantHook hook(*quantized);

  const at::Tensor images = Ramp({5, 2, 4, 4}, 0.03);
  const at::Tensor before = images.clone();
  const auto logits = executor->Forward(images, &hook);
  ASSERT_TRUE(logits.ok()) << logits.status();
  EXPECT_TRUE(at::equal(images, before));

  const at::Tensor x = FakeQuantize(images, quantized->activations.at("input"));
  at::Tensor y = at::relu(at::conv2d(x, parameters->at("conv1.weight"), parameters->at("conv1.bias"), 1, 1));
  y = FakeQuantize(y, quantized->activations.at("relu"));
  y = y + at::conv2d(y, parameters->at("conv2.weight"), {}, 1, 1);
  y = FakeQuantize(y.flatten(1), quantized->activations.at("flatten"));
  y = at::linear(y, parameters->at("fc.weight"), parameters->at("fc.bias"));
  EXPECT_LT((*logits - y).abs().max().item<float>(), 1e-4f);

  const auto plain = executor->Forward(images);
  ASSERT_TRUE(plain.ok());
  EXPECT_GT((*logits - *plain).abs().max().item<float>(), 0.1f) << "quantization is seen";
}

}  // namespace
}  // namespace lowbit
