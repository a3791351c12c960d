#include "quant/twin_activations.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "base/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model_testing.h"
#include "model/passes/segment.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

QuantParams Params(int bits, bool is_signed, float scale) { return {bits, is_signed, {scale}, {0}, {}, {}}; }

// in -> conv1 -> relu1 -> conv2 -> add(relu1) -> relu2 -> conv3
Model SmallModel() {
  Conv2d conv{2, 2, {3, 3}};
  conv.padding = {1, 1};
  conv.bias = true;
  Graph graph = Make({{"in", Input{2, 5, 5}, {}},
                      {"conv1", conv, {0}},
                      {"relu1", Relu{}, {1}},
                      {"conv2", conv, {2}},
                      {"add", Add{}, {3, 2}},
                      {"relu2", Relu{}, {4}},
                      {"conv3", conv, {5}}});
  ParameterMap parameters;
  uint64_t seed = 0;
  for (const std::string layer : {"conv1", "conv2", "conv3"}) {
    parameters[layer + ".weight"] = Random({2, 2, 3, 3}, ++seed).mul(0.3);
    parameters[layer + ".bias"] = Random({2}, ++seed);
  }
  return {std::move(graph), std::move(parameters)};
}

QuantizedModel Quantized(const Model& model) {
  QuantizedModel quantized = *ToQuantizedModel(model);
  for (const std::string layer : {"conv1", "conv2"}) {
    const QuantParams params = Params(3, true, 0.2f);
    EXPECT_TRUE(SetWeight(layer, {params, Quantize(model.parameters.at(layer + ".weight"), params)}, &quantized).ok());
  }
  quantized.activations["in"] = Params(4, true, 0.4f);
  quantized.activations["relu1"] = Params(3, false, 0.3f);
  quantized.activations["relu2"] = Params(3, false, 0.4f);
  return quantized;
}

// What a layer puts out.
class Keep : public LayerHook {
 public:
  Keep(int layer, LayerHook* next) : layer_(layer), next_(next) {}
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    if (next_ != nullptr) y = next_->OnOutput(layer, std::move(y));
    if (layer == layer_) output = y.clone();
    return y;
  }
  at::Tensor output;

 private:
  const int layer_;
  LayerHook* const next_;
};

at::Tensor InFloat(const Model& model, const at::Tensor& x, int layer) {
  Keep keep(layer, nullptr);
  EXPECT_TRUE(Executor::Create(model.graph, model.parameters)->Forward(x, &keep).ok());
  return keep.output;
}

at::Tensor InQuantized(const QuantizedModel& quantized, const at::Tensor& x, int layer) {
  FakeQuantHook hook(quantized);
  Keep keep(layer, &hook);
  EXPECT_TRUE(Executor::Create(quantized.graph, *FakeQuantParameters(quantized))->Forward(x, &keep).ok());
  return keep.output;
}

TEST(TwinActivationsTest, HoldsWhatBothNetworksPutOut) {
  const Model model = SmallModel();
  const QuantizedModel quantized = Quantized(model);
  const std::vector<at::Tensor> batches = {Random({3, 2, 5, 5}, 10), Random({2, 2, 5, 5}, 11)};
  const std::vector<std::vector<int>> ways = {{2, 5, 6}, {5}, {2, 2, 6}, {6}};
  for (const std::vector<int>& way : ways) {
    TwinActivations twins(model, batches);
    EXPECT_EQ(twins.cut(), 0);
    EXPECT_EQ(twins.batches(), 2);
    EXPECT_TRUE(at::equal(twins.in_quantized()[1], batches[1]));
    for (const int cut : way) {
      ASSERT_TRUE(twins.AdvanceTo(cut, quantized).ok());
      EXPECT_EQ(twins.cut(), cut);
      for (size_t i = 0; i < 2; ++i) {
        EXPECT_TRUE(at::allclose(twins.in_float()[i], InFloat(model, batches[i], cut), 1e-5, 1e-5));
        EXPECT_TRUE(at::allclose(twins.in_quantized()[i], InQuantized(quantized, batches[i], cut), 1e-4, 1e-4));
        EXPECT_FALSE(at::allclose(twins.in_float()[i], twins.in_quantized()[i], 1e-2, 1e-2));
      }
    }
  }
}

TEST(TwinActivationsTest, CanBeInterrupted) {
  const Model model = SmallModel();
  TwinActivations twins(model, {Random({3, 2, 5, 5}, 10)});
  RequestInterruptForTest();
  EXPECT_EQ(twins.AdvanceTo(2, Quantized(model)).code(), absl::StatusCode::kCancelled);
  ClearInterrupt();
  EXPECT_EQ(twins.cut(), 0);
}

TEST(PartOfQuantizedModelTest, HasTheLayersOfTheSegment) {
  const Model model = SmallModel();
  const QuantizedModel part = PartOfQuantizedModel(Quantized(model), Segment(model, 2, 6).graph);
  std::vector<std::string> weights, activations, parameters;
  for (const auto& [name, weight] : part.weights) weights.push_back(name);
  for (const auto& [name, params] : part.activations) activations.push_back(name);
  for (const auto& [name, blob] : part.parameters) parameters.push_back(name);
  EXPECT_THAT(weights, ElementsAre("conv2"));
  EXPECT_THAT(activations, ElementsAre("relu2")) << "relu1 is quantized already";
  EXPECT_THAT(parameters, ElementsAre("conv2.bias", "conv3.bias", "conv3.weight"));
  EXPECT_TRUE(CheckQuantizedModel(part).ok());
  // The network's own input is quantized here.
  const QuantizedModel first = PartOfQuantizedModel(Quantized(model), Segment(model, 0, 2).graph);
  EXPECT_EQ(first.activations.count("in"), 1u);
}

// 0.65 is 0.75 in steps of 0.25 for the network's input, but stays 0.65 where it comes from within; times a weight of
// 1, which becomes 0.8.
TEST(QuantizedSegmentTest, ByHand) {
  const auto run = [](const char* first) {
    const Model model{Make({{first, Input{1, 1, 1}, {}}, {"conv", Conv2d{1, 1}, {0}}}),
                      {{"conv.weight", at::tensor({1.0f}).view({1, 1, 1, 1})}}};
    const Model whole{Make({{"in", Input{1, 1, 1}, {}}, {"relu", Relu{}, {0}}, {"conv", Conv2d{1, 1}, {1}}}),
                      model.parameters};
    QuantizedModel quantized = *ToQuantizedModel(whole);
    EXPECT_TRUE(
        SetWeight("conv", {Params(2, true, 0.8f), at::tensor({1}, at::kInt).view({1, 1, 1, 1})}, &quantized).ok());
    quantized.activations["in"] = quantized.activations["relu"] = Params(8, true, 0.25f);
    auto segment = QuantizedSegment::Create(quantized, model.graph);
    EXPECT_TRUE(segment.ok()) << segment.status();
    return segment->executor.Forward(at::tensor({0.65f}).view({1, 1, 1, 1}), &segment->hook)->item<float>();
  };
  EXPECT_FLOAT_EQ(run("in"), 0.8f * 0.75f);
  EXPECT_FLOAT_EQ(run("relu"), 0.8f * 0.65f);
}

}  // namespace
}  // namespace lowbit
