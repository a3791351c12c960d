#include "corrections/bias_correction.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "base/interrupt.h"
#include "base/random.h"
#include "corrections/channel_statistics.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/model_testing.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Model WithRandomNumbers(Graph graph) {
  ParameterMap parameters;
  uint64_t seed = 10;
  for (const Layer& layer : graph.layers()) {
    for (const auto& [name, shape] : ParameterShapes(layer.op)) {
      parameters[ParameterName(layer.name, name)] = Random(shape, ++seed).mul(0.5);
    }
  }
  return {std::move(graph), std::move(parameters)};
}

// The weight in codes of one scale for the tensor, `bits` wide, symmetric.
void QuantizeLayer(const Model& model, const std::string& layer, int bits, QuantizedModel* quantized) {
  const at::Tensor weight = model.parameters.at(ParameterName(layer, "weight"));
  QuantizedTensor tensor;
  tensor.params.bits = bits;
  tensor.params.scale = {weight.abs().max().item<float>() / static_cast<float>(tensor.params.qmax())};
  tensor.params.zero_point = {0};
  tensor.codes = weight.div(tensor.params.scale[0]).round().to(at::kInt);
  const absl::Status status = SetWeight(layer, tensor, quantized);
  EXPECT_TRUE(status.ok()) << status;
}

// conv1 (padded) -> relu -> conv2 (groups) -> add(relu) -> relu -> pool -> flatten -> fc, all with a bias.
Model SmallModel() {
  Conv2d conv1{2, 4, {3, 3}};
  conv1.padding = {1, 1};
  conv1.bias = true;
  Conv2d conv2 = conv1;
  conv2.in_channels = 4;
  conv2.groups = 2;
  return WithRandomNumbers(Make({{"input", Input{2, 6, 6}, {}},
                                 {"conv1", conv1, {0}},
                                 {"relu1", Relu{}, {1}},
                                 {"conv2", conv2, {2}},
                                 {"add", Add{}, {3, 2}},
                                 {"relu2", Relu{}, {4}},
                                 {"pool", GlobalAvgPool{}, {5}},
                                 {"flatten", Flatten{}, {6}},
                                 {"fc", Linear{4, 3}, {7}}}));
}

// Three bits for all weights, four for two activations.
QuantizedModel SmallQuantized(const Model& model) {
  auto quantized = ToQuantizedModel(model);
  EXPECT_TRUE(quantized.ok()) << quantized.status();
  for (const char* layer : {"conv1", "conv2", "fc"}) QuantizeLayer(model, layer, 3, &*quantized);
  quantized->activations["relu1"] = {4, /*is_signed=*/false, {0.2f}, {0}, {}, {}};
  quantized->activations["relu2"] = {4, /*is_signed=*/false, {0.3f}, {0}, {}, {}};
  return *std::move(quantized);
}

// Of what every layer with a weight puts out.
class Watch : public LayerHook {
 public:
  Watch(const Graph& graph, LayerHook* next) : graph_(graph), next_(next) {}
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    if (HasWeight(graph_.layer(layer).op)) {
      ChannelStatistics statistics;
      EXPECT_TRUE(statistics.Observe(y).ok());
      moments[graph_.layer(layer).name] = statistics.moments();
    }
    return next_ == nullptr ? y : next_->OnOutput(layer, y);
  }
  NetworkMoments moments;

 private:
  const Graph& graph_;
  LayerHook* next_;
};

NetworkMoments FloatMoments(const Model& model, const at::Tensor& images) {
  Watch watch(model.graph, nullptr);
  const auto executor = Executor::Create(model.graph, model.parameters);
  EXPECT_TRUE(executor.ok() && executor->Forward(images, &watch).ok());
  return watch.moments;
}

NetworkMoments QuantizedMoments(const QuantizedModel& model, const at::Tensor& images) {
  FakeQuantHook fake(model);
  Watch watch(model.graph, &fake);
  const auto parameters = FakeQuantParameters(model);
  EXPECT_TRUE(parameters.ok()) << parameters.status();
  const auto executor = Executor::Create(model.graph, *parameters);
  EXPECT_TRUE(executor.ok() && executor->Forward(images, &watch).ok());
  return watch.moments;
}

void ExpectClose(const std::vector<double>& a, const std::vector<double>& b, double tolerance,
                 const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t c = 0; c < a.size(); ++c) EXPECT_NEAR(a[c], b[c], tolerance) << what << ", channel " << c;
}

double LargestDifference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t c = 0; c < a.size(); ++c) largest = std::max(largest, std::abs(a[c] - b[c]));
  return largest;
}

at::Tensor Bias(const QuantizedModel& model, const char* layer) {
  const auto parameters = FakeQuantParameters(model);
  EXPECT_TRUE(parameters.ok()) << parameters.status();
  return parameters->at(ParameterName(layer, "bias"));
}

// ---- Empirical ----

// Images 1 and 3 (mean 2, deviation 1); weight 0.75 becomes 1 (one signed bit more would not): outputs 0.75 x + 1 and
// 1 x + 1, means 2.5 and 3, deviations 0.75 and 1.
struct OneWeight {
  OneWeight() {
    Conv2d conv{1, 1};
    conv.bias = true;
    model = std::make_unique<Model>(
        Model{Make({{"input", Input{1, 1, 1}, {}}, {"conv", conv, {0}}}),
              {{"conv.weight", at::full({1, 1, 1, 1}, 0.75, at::kFloat)}, {"conv.bias", at::tensor({1.0f})}}});
    quantized = std::make_unique<QuantizedModel>(*ToQuantizedModel(*model));
    EXPECT_TRUE(
        SetWeight("conv", {{2, true, {1}, {0}, {}, {}}, at::full({1, 1, 1, 1}, 1, at::kInt)}, quantized.get()).ok());
    images = at::tensor({1.0f, 3.0f}).view({2, 1, 1, 1});
  }
  std::unique_ptr<Model> model;
  std::unique_ptr<QuantizedModel> quantized;
  at::Tensor images;
};

TEST(EmpiricalBiasCorrectionTest, HandComputedMean) {
  const OneWeight one;
  const auto result = CorrectBiasesEmpirically(*one.model, *one.quantized, one.images, Matched::kMean);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Bias(result->model, "conv").item<float>(), 0.5f);  // 1 + 2.5 - 3
  EXPECT_THAT(result->model.weights.at("conv").params.scale, ElementsAre(1));
  ASSERT_EQ(result->corrected.size(), 1u);
  EXPECT_EQ(result->corrected[0].layer, "conv");
  EXPECT_EQ(result->corrected[0].max_shift, 0.5);
  EXPECT_EQ(Bias(*one.quantized, "conv").item<float>(), 1.0f);  // Not written to.
}

TEST(EmpiricalBiasCorrectionTest, HandComputedMeanAndStd) {
  const OneWeight one;
  const auto result = CorrectBiasesEmpirically(*one.model, *one.quantized, one.images, Matched::kMeanAndStd);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->model.weights.at("conv").params.scale, ElementsAre(0.75));
  EXPECT_EQ(Bias(result->model, "conv").item<float>(), 1.0f);  // 0.75 (1 - 3) + 2.5: the float network itself
  EXPECT_EQ(result->corrected[0].min_ratio, 0.75);
  EXPECT_EQ(result->corrected[0].max_ratio, 0.75);
}

// Each layer behind corrected, quantized predecessors: all means at once are those of the float network.
TEST(EmpiricalBiasCorrectionTest, MeansOfAllLayersBecomeThoseOfTheFloatNetwork) {
  const Model model = SmallModel();
  const QuantizedModel quantized = SmallQuantized(model);
  const at::Tensor images = Random({300, 2, 6, 6}, 77);  // More than one batch of the float pass.
  const NetworkMoments wanted = FloatMoments(model, images);
  const auto result = CorrectBiasesEmpirically(model, quantized, images, Matched::kMean);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->skipped, IsEmpty());
  ASSERT_EQ(result->corrected.size(), 3u);
  const NetworkMoments before = QuantizedMoments(quantized, images), after = QuantizedMoments(result->model, images);
  for (const auto& [layer, moments] : wanted) {
    EXPECT_GT(LargestDifference(before.at(layer).mean, moments.mean), 1e-3) << layer;
    ExpectClose(after.at(layer).mean, moments.mean, 2e-5, layer);
    EXPECT_EQ(result->model.weights.at(layer).codes, quantized.weights.at(layer).codes);
  }
}

TEST(EmpiricalBiasCorrectionTest, DeviationsTooAndOneScaleBecomesOneForEachChannel) {
  const Model model = SmallModel();
  QuantizedModel quantized = SmallQuantized(model);
  const at::Tensor images = Random({300, 2, 6, 6}, 77);
  const auto result = CorrectBiasesEmpirically(model, quantized, images, Matched::kMeanAndStd);
  ASSERT_TRUE(result.ok()) << result.status();
  const NetworkMoments wanted = FloatMoments(model, images), after = QuantizedMoments(result->model, images);
  for (const auto& [layer, moments] : wanted) {
    ExpectClose(after.at(layer).mean, moments.mean, 2e-5, layer);
    ExpectClose(after.at(layer).std, moments.std, 2e-5, layer);
    EXPECT_EQ(result->model.weights.at(layer).params.scale.size(), moments.std.size());
    EXPECT_EQ(result->model.weights.at(layer).params.zero_point.size(), moments.std.size());
    EXPECT_EQ(result->model.weights.at(layer).codes, quantized.weights.at(layer).codes);
  }
}

// Bases belong to a scale: of one for the tensor each channel gets a copy.
TEST(EmpiricalBiasCorrectionTest, DeviationsOfAWeightWithBases) {
  const Model model = SmallModel();
  auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  const at::Tensor weight = model.parameters.at("conv1.weight");
  QuantizedTensor tensor;
  tensor.params.bits = 2;
  tensor.params.scale = {0.5f};
  tensor.params.zero_point = {0};
  tensor.params.bases = {0.5f};
  tensor.codes = Quantize(weight, tensor.params);
  ASSERT_TRUE(SetWeight("conv1", tensor, &*quantized).ok());
  const at::Tensor images = Random({64, 2, 6, 6}, 81);
  const auto result = CorrectBiasesEmpirically(model, *quantized, images, Matched::kMeanAndStd);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->model.weights.at("conv1").params.bases, ElementsAre(0.5f, 0.5f, 0.5f, 0.5f));
  const NetworkMoments wanted = FloatMoments(model, images), after = QuantizedMoments(result->model, images);
  ExpectClose(after.at("conv1").std, wanted.at("conv1").std, 2e-5, "conv1");
}

// A weight that stayed float reads what was quantized before it; its outputs are corrected as well.
TEST(EmpiricalBiasCorrectionTest, FloatLayersBehindQuantizedOnes) {
  const Model model = SmallModel();
  auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  QuantizeLayer(model, "conv1", 2, &*quantized);
  const at::Tensor images = Random({64, 2, 6, 6}, 78);
  const auto result = CorrectBiasesEmpirically(model, *quantized, images, Matched::kMeanAndStd);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->model.weights.size(), 1u);
  const NetworkMoments wanted = FloatMoments(model, images), after = QuantizedMoments(result->model, images);
  ExpectClose(after.at("fc").mean, wanted.at("fc").mean, 2e-5, "fc");
  ExpectClose(after.at("fc").std, wanted.at("fc").std, 2e-5, "fc");
}

TEST(EmpiricalBiasCorrectionTest, NothingQuantizedNothingChanges) {
  const Model model = SmallModel();
  const auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  const auto result = CorrectBiasesEmpirically(model, *quantized, Random({32, 2, 6, 6}, 79), Matched::kMeanAndStd);
  ASSERT_TRUE(result.ok()) << result.status();
  for (const LayerCorrection& layer : result->corrected) {
    EXPECT_LT(layer.max_shift, 1e-6);
    EXPECT_NEAR(layer.max_ratio, 1, 1e-6);
  }
}

// Channel 0 is dead in both networks, channel 1 only in the quantized one, channel 2 becomes 100 times too small.
TEST(EmpiricalBiasCorrectionTest, DeadChannelsKeepTheirScaleAndRatiosAreHeld) {
  Conv2d conv{1, 3};
  conv.bias = true;
  const Model model{Make({{"input", Input{1, 1, 1}, {}}, {"conv", conv, {0}}}),
                    {{"conv.weight", at::tensor({0.0f, 0.25f, 100.0f}).view({3, 1, 1, 1})},
                     {"conv.bias", at::tensor({1.0f, 2.0f, 3.0f})}}};
  auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  ASSERT_TRUE(
      SetWeight("conv", {{4, true, {1}, {0}, {}, {}}, at::tensor({0, 0, 1}, at::kInt).view({3, 1, 1, 1})}, &*quantized)
          .ok());
  const auto result =
      CorrectBiasesEmpirically(model, *quantized, at::tensor({-1.0f, 1.0f}).view({2, 1, 1, 1}), Matched::kMeanAndStd);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->model.weights.at("conv").params.scale, ElementsAre(1, 1, 10));
  EXPECT_EQ(result->corrected[0].dead, 2);
  EXPECT_EQ(result->corrected[0].limited, 1);
  EXPECT_TRUE(at::equal(Bias(result->model, "conv"), at::tensor({1.0f, 2.0f, 3.0f})));
}

TEST(EmpiricalBiasCorrectionTest, SkipsLayersWithoutABias) {
  Conv2d conv1{1, 2}, conv2{2, 1};
  conv2.bias = true;
  const Model model =
      WithRandomNumbers(Make({{"input", Input{1, 2, 2}, {}}, {"conv1", conv1, {0}}, {"conv2", conv2, {1}}}));
  auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  for (const char* layer : {"conv1", "conv2"}) QuantizeLayer(model, layer, 2, &*quantized);
  const auto result = CorrectBiasesEmpirically(model, *quantized, Random({8, 1, 2, 2}, 1), Matched::kMean);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->skipped, ElementsAre("conv1: it has no bias; a fold step makes one of the batch norm behind it"));
  ASSERT_EQ(result->corrected.size(), 1u);
  EXPECT_EQ(result->corrected[0].layer, "conv2");
}

TEST(EmpiricalBiasCorrectionTest, NamesTheLayerWhoseOutputIsNotFinite) {
  const Model model = SmallModel();
  at::Tensor images = Random({4, 2, 6, 6}, 1);
  images[2][0][0][0] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(CorrectBiasesEmpirically(model, SmallQuantized(model), images, Matched::kMean).status().message(),
            "output of conv1: channel 0 has NaN or infinite values");
}

TEST(EmpiricalBiasCorrectionTest, CanBeInterrupted) {
  const Model model = SmallModel();
  RequestInterruptForTest();
  const auto result = CorrectBiasesEmpirically(model, SmallQuantized(model), Random({4, 2, 6, 6}, 1), Matched::kMean);
  ClearInterrupt();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
}

// ---- Analytic ----

// Two channels into a 1x1 convolution: relu of a standard normal, and a constant 2. Errors 0.25 and -0.5.
TEST(AnalyticBiasCorrectionTest, HandComputed) {
  Conv2d conv1{1, 2}, conv2{2, 1};
  conv1.bias = conv2.bias = true;
  const Model model{
      Make({{"input", Input{1, 1, 1}, {}}, {"conv1", conv1, {0}}, {"relu", Relu{}, {1}}, {"conv2", conv2, {2}}}),
      {{"conv1.weight", at::tensor({1.0f, 0.0f}).view({2, 1, 1, 1})},
       {"conv1.bias", at::tensor({0.0f, 2.0f})},
       {"conv2.weight", at::tensor({0.75f, 1.5f}).view({1, 2, 1, 1})},
       {"conv2.bias", at::tensor({3.0f})}}};
  auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  QuantizeLayer(model, "conv1", 8, &*quantized);
  ASSERT_TRUE(
      SetWeight("conv2", {{4, true, {1}, {0}, {}, {}}, at::tensor({1, 1}, at::kInt).view({1, 2, 1, 1})}, &*quantized)
          .ok());
  const auto result = CorrectBiasesAnalytically(model, {{"conv1", {{0, 2}, {1, 0}}}}, *quantized);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(Bias(result->model, "conv2").item<double>(), 3 - 0.25 * 0.3989422804 + 0.5 * 2, 1e-6);
  EXPECT_NEAR(result->corrected[0].max_shift, 1 - 0.25 * 0.3989422804, 1e-9);
  EXPECT_THAT(result->skipped, ElementsAre("conv1: the mean of the images is not known"));
  EXPECT_TRUE(at::equal(Bias(result->model, "conv1"), at::tensor({0.0f, 2.0f})));
  // A second time it comes to the same.
  const auto twice = CorrectBiasesAnalytically(model, {{"conv1", {{0, 2}, {1, 0}}}}, result->model);
  ASSERT_TRUE(twice.ok()) << twice.status();
  EXPECT_TRUE(at::equal(Bias(twice->model, "conv2"), Bias(result->model, "conv2")));
}

// The input of the second is constant, so what is expected is what is measured, borders included.
TEST(AnalyticBiasCorrectionTest, KnowsHowOftenATapFallsOnPadding) {
  Conv2d conv1{1, 2}, conv2{2, 3, {3, 5}};
  conv1.bias = conv2.bias = true;
  conv2.padding = {1, 2};
  conv2.stride = {2, 1};
  Model model = WithRandomNumbers(
      Make({{"input", Input{1, 5, 6}, {}}, {"conv1", conv1, {0}}, {"relu", Relu{}, {1}}, {"conv2", conv2, {2}}}));
  model.parameters["conv1.weight"] = at::zeros({2, 1, 1, 1});
  model.parameters["conv1.bias"] = at::tensor({1.5f, 0.5f});
  auto quantized = ToQuantizedModel(model);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  QuantizeLayer(model, "conv2", 2, &*quantized);
  const at::Tensor images = Random({2, 1, 5, 6}, 3);
  const std::vector<double> wanted = FloatMoments(model, images).at("conv2").mean;
  EXPECT_GT(LargestDifference(QuantizedMoments(*quantized, images).at("conv2").mean, wanted), 0.1);
  const auto result = CorrectBiasesAnalytically(model, {{"conv1", {{1.5, 0.5}, {0, 0}}}}, *quantized);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectClose(QuantizedMoments(result->model, images).at("conv2").mean, wanted, 1e-5, "conv2");
}

TEST(AnalyticBiasCorrectionTest, WithoutMomentsNoLayerIsCorrected) {
  const Model model = SmallModel();
  const auto result = CorrectBiasesAnalytically(model, {}, SmallQuantized(model));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->corrected, IsEmpty());
  EXPECT_THAT(result->skipped, ElementsAre("conv1: the mean of the images is not known",
                                           "conv2: the mean of \"conv1\" (Conv2d) cannot be told without images",
                                           "fc: the mean of \"conv2\" (Conv2d) cannot be told without images"));
}

}  // namespace
}  // namespace lowbit
