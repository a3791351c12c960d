#include "corrections/reestimate_batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <string>
#include <utility>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/model_testing.h"
#include "model/parameters.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

using testing::IsEmpty;

QuantizedModel Quantized(const Model& model) {
  auto quantized = ToQuantizedModel(model);
  EXPECT_TRUE(quantized.ok()) << quantized.status();
  return *std::move(quantized);
}

ParameterMap Parameters(const QuantizedModel& model) {
  auto parameters = FakeQuantParameters(model);
  EXPECT_TRUE(parameters.ok()) << parameters.status();
  return *std::move(parameters);
}

// The images go straight into a batch norm.
Model BatchNormAlone(double eps = 0.25) {
  return {Make({{"input", Input{2, 1, 2}, {}}, {"bn", BatchNorm{2, eps}, {0}}}),
          {{"bn.weight", at::tensor({2.0f, -1.0f})},
           {"bn.bias", at::tensor({0.5f, 1.0f})},
           {"bn.running_mean", at::tensor({1.0f, -1.0f})},
           {"bn.running_var", at::tensor({0.75f, 3.75f})}}};
}

// Channel 0 sees 1, 3, 5, 7: mean 4, variance 5. Channel 1 sees -1 only.
TEST(ReestimateBatchNormsTest, HandComputed) {
  const at::Tensor images = at::tensor({1.0f, 3.0f, -1.0f, -1.0f, 5.0f, 7.0f, -1.0f, -1.0f}).view({2, 2, 1, 2});
  const auto result = ReestimateBatchNorms(Quantized(BatchNormAlone()), images);
  ASSERT_TRUE(result.ok()) << result.status();
  const ParameterMap parameters = Parameters(result->model);
  EXPECT_TRUE(at::allclose(parameters.at("bn.running_mean"), at::tensor({4.0f, -1.0f}), 1e-7));
  EXPECT_TRUE(at::allclose(parameters.at("bn.running_var"), at::tensor({5.0f, 0.0f}), 1e-7));
  EXPECT_TRUE(at::allclose(parameters.at("bn.weight"), at::tensor({2.0f, -1.0f}), 0));
  ASSERT_EQ(result->norms.size(), 1u);
  EXPECT_EQ(result->norms[0].layer, "bn");
  EXPECT_DOUBLE_EQ(result->norms[0].max_shift, 3);         // (4 - 1) / sqrt(0.75 + 0.25)
  EXPECT_DOUBLE_EQ(result->norms[0].min_ratio, 0.25);      // sqrt(0.25) / sqrt(3.75 + 0.25)
  EXPECT_NEAR(result->norms[0].max_ratio, 2.29129, 1e-5);  // sqrt(5.25)
}

// conv -> bn -> relu -> conv -> bn -> sum with the first relu -> fc -> bn.
Model Chain() {
  Conv2d conv1{2, 4, {3, 3}}, conv2{4, 4, {3, 3}};
  conv1.padding = conv2.padding = {1, 1};
  Graph graph = Make({{"input", Input{2, 4, 4}, {}},
                      {"conv1", conv1, {0}},
                      {"bn1", BatchNorm{4}, {1}},
                      {"relu1", Relu{}, {2}},
                      {"conv2", conv2, {3}},
                      {"bn2", BatchNorm{4}, {4}},
                      {"add", Add{}, {5, 3}},
                      {"pool", GlobalAvgPool{}, {6}},
                      {"flatten", Flatten{}, {7}},
                      {"fc", Linear{4, 3}, {8}},
                      {"bn3", BatchNorm{3}, {9}}});
  ParameterMap parameters;
  uint64_t seed = 20;
  for (const Layer& layer : graph.layers()) {
    for (const auto& [name, shape] : ParameterShapes(layer.op)) {
      at::Tensor value = Random(shape, ++seed).mul(0.5);
      if (name == "running_var") value = value.abs().add(0.5);
      parameters[ParameterName(layer.name, name)] = value;
    }
  }
  return {std::move(graph), std::move(parameters)};
}

// Remembers what each batch norm reads, on its way through fake quantization.
class Inputs : public LayerHook {
 public:
  explicit Inputs(const QuantizedModel& model) : graph_(model.graph), fake_(model) {}
  at::Tensor OnInput(int layer, int /*input_index*/, at::Tensor x) override {
    if (std::holds_alternative<BatchNorm>(graph_.layer(layer).op)) seen[graph_.layer(layer).name] = x.clone();
    return x;
  }
  at::Tensor OnOutput(int layer, at::Tensor y) override { return fake_.OnOutput(layer, std::move(y)); }
  std::map<std::string, at::Tensor> seen;

 private:
  const Graph& graph_;
  FakeQuantHook fake_;
};

// All batch norms at once fit what they read, though each changes what those behind it read.
void ExpectStatisticsOfWhatIsRead(const QuantizedModel& model, const at::Tensor& images) {
  Inputs inputs(model);
  const ParameterMap parameters = Parameters(model);
  const auto executor = Executor::Create(model.graph, parameters);
  ASSERT_TRUE(executor.ok() && executor->Forward(images, &inputs).ok());
  ASSERT_EQ(inputs.seen.size(), 3u);
  for (const auto& [layer, x] : inputs.seen) {
    const at::Tensor values = x.transpose(0, 1).flatten(1).to(at::kDouble);
    EXPECT_TRUE(at::allclose(parameters.at(layer + ".running_mean").to(at::kDouble), values.mean(1), 1e-4, 1e-5))
        << layer;
    EXPECT_TRUE(
        at::allclose(parameters.at(layer + ".running_var").to(at::kDouble), values.var(1, /*unbiased=*/false), 1e-4))
        << layer;
  }
}

TEST(ReestimateBatchNormsTest, OfTheFloatNetworkGivesTheStatisticsOfTheData) {
  const at::Tensor images = Random({40, 2, 4, 4}, 5);
  const auto result = ReestimateBatchNorms(Quantized(Chain()), images);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectStatisticsOfWhatIsRead(result->model, images);

  // And once more changes nothing.
  const auto again = ReestimateBatchNorms(result->model, images);
  ASSERT_TRUE(again.ok()) << again.status();
  for (const ReestimatedNorm& norm : again->norms) {
    EXPECT_LT(norm.max_shift, 1e-5) << norm.layer;
    EXPECT_NEAR(norm.min_ratio, 1, 1e-5) << norm.layer;
    EXPECT_NEAR(norm.max_ratio, 1, 1e-5) << norm.layer;
  }
}

TEST(ReestimateBatchNormsTest, SeesQuantizedWeightsAndActivations) {
  const Model model = Chain();
  QuantizedModel quantized = Quantized(model);
  const at::Tensor codes = model.parameters.at("conv1.weight").mul(2).round().clamp(-2, 1).to(at::kInt);
  ASSERT_TRUE(SetWeight("conv1", {{2, true, {0.5}, {0}, {}, {}}, codes}, &quantized).ok());
  quantized.activations["relu1"] = {2, /*is_signed=*/false, {0.5f}, {0}, {}, {}};
  quantized.activations["bn2"] = {3, /*is_signed=*/true, {0.25f}, {0}, {}, {}};
  const at::Tensor images = Random({40, 2, 4, 4}, 6);
  const auto result = ReestimateBatchNorms(quantized, images);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectStatisticsOfWhatIsRead(result->model, images);
  EXPECT_EQ(result->model.weights.at("conv1").codes, quantized.weights.at("conv1").codes);

  // Batch norms in float go to a file and back with the rest.
  const auto bytes = SerializeQuantizedModel(result->model);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto loaded = ParseQuantizedModel(*bytes, "test");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectStatisticsOfWhatIsRead(*loaded, images);
}

TEST(ReestimateBatchNormsTest, WithoutBatchNormsThereIsNothingToDo) {
  const Model model{Make({{"input", Input{1, 1, 1}, {}}, {"relu", Relu{}, {0}}}), {}};
  const auto result = ReestimateBatchNorms(Quantized(model), at::full({1, 1, 1, 1}, 1.0, at::kFloat));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->norms, IsEmpty());
}

TEST(ReestimateBatchNormsTest, RefusesAChannelWithoutAnyVariance) {
  EXPECT_EQ(
      ReestimateBatchNorms(Quantized(BatchNormAlone(/*eps=*/0)), at::zeros({2, 2, 1, 2})).status().message(),
      "layer \"bn\" (BatchNorm): channel 0 has variance 0.75, now 0, with eps 0; neither sum may be zero or negative");
}

TEST(ReestimateBatchNormsTest, RefusesImagesThatAreNotFinite) {
  at::Tensor images = at::zeros({2, 2, 1, 2});
  images[1][1][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(ReestimateBatchNorms(Quantized(BatchNormAlone()), images).status().message(),
            "input of bn: channel 1 has NaN or infinite values");
}

}  // namespace
}  // namespace lowbit
