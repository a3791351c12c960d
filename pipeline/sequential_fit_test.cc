#include "pipeline/sequential_fit.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/resnet.h"
#include "nlohmann/json.hpp"
#include "pipeline/run_fixture.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

// in -> a -> b -> relu; add = c(relu) + b
Graph Block() {
  Conv2d conv;
  conv.in_channels = conv.out_channels = 3;
  conv.kernel = {3, 3};
  conv.padding = {1, 1};
  conv.bias = true;
  return *Graph::Create({{"in", Input{3, 32, 32}, {}},
                         {"a", conv, {0}},
                         {"b", conv, {1}},
                         {"relu", Relu{}, {2}},
                         {"c", conv, {3}},
                         {"add", Add{}, {2, 4}},
                         {"d", conv, {5}}});
}

TEST(ChooseTargetTest, TheSumWhereTheOtherSummandIsFinal) {
  const Graph graph = Block();
  const FitTarget c = ChooseTarget(graph, 4, {6}, true);
  EXPECT_EQ(c.add, 5);
  EXPECT_EQ(c.other_input, 0);
  EXPECT_EQ(c.last(), 5);
  EXPECT_EQ(ChooseTarget(graph, 4, {6}, false).last(), 4) << "not wanted";
  EXPECT_EQ(ChooseTarget(graph, 4, {2, 6}, true).last(), 4) << "b is still to come";
  EXPECT_EQ(ChooseTarget(graph, 2, {4, 6}, true).last(), 2) << "b has two readers";
  EXPECT_EQ(ChooseTarget(graph, 6, {}, true).last(), 6) << "nobody reads d";
}

class SequentialFitterTest : public testing::Test {
 protected:
  SequentialFitterTest() : data_(&OpenSynthetic, Normalization()) {}

  const Model model_{Block(), InitParameters(Block(), 1)};
  const CalibrationImages images_{{5, 3, 8, 1, 40, 41, 42, 43, 44, 45}, 4};
  DataSource data_;
};

// With nothing quantized, each layer reads and puts out what it should.
TEST_F(SequentialFitterTest, AFloatNetworkIsLeftAsItIs) {
  const auto quantized = ToQuantizedModel(model_);
  for (const bool correct_sums : {true, false}) {
    auto fitter = SequentialFitter::Create(model_, images_, 10, &data_);
    ASSERT_TRUE(fitter.ok()) << fitter.status();
    for (const int layer : {1, 2, 4, 6}) {
      const std::string& name = model_.graph.layer(layer).name;
      const auto regression = fitter->Regress(ChooseTarget(model_.graph, layer, {}, correct_sums), *quantized);
      ASSERT_TRUE(regression.ok()) << regression.status();
      EXPECT_EQ(regression->images(), 10);
      const at::Tensor& weight = model_.parameters.at(name + ".weight");
      const at::Tensor& bias = model_.parameters.at(name + ".bias");
      EXPECT_LT(regression->RelativeError(weight, bias), 1e-5) << name;
      const auto fitted = regression->FitWeight(weight, 0.1);
      ASSERT_TRUE(fitted.ok()) << fitted.status();
      EXPECT_TRUE(at::allclose(*fitted, weight, 1e-2, 1e-3)) << name;
      EXPECT_TRUE(at::allclose(regression->FitBias(*fitted), bias, 1e-2, 1e-3)) << name;
    }
  }
}

// The layer before was distorted: its weights are twice as large. The fitted one makes up for it, also through the sum.
TEST_F(SequentialFitterTest, MakesUpForTheLayerBefore) {
  Model doubled = model_;
  for (const char* name : {"b.weight", "b.bias"}) doubled.parameters[name] = model_.parameters.at(name) * 2;
  const auto quantized = ToQuantizedModel(doubled);
  auto fitter = SequentialFitter::Create(model_, images_, 10, &data_);
  ASSERT_TRUE(fitter.ok()) << fitter.status();
  const at::Tensor& weight = model_.parameters.at("c.weight");
  const at::Tensor& bias = model_.parameters.at("c.bias");
  const auto own = fitter->Regress(ChooseTarget(model_.graph, 4, {}, false), *quantized);
  ASSERT_TRUE(own.ok()) << own.status();
  const at::Tensor fitted = *own->FitWeight(weight, 1e-9);
  EXPECT_GT(own->RelativeError(weight, bias), 0.5);
  EXPECT_LT(own->RelativeError(fitted, own->FitBias(fitted)), 1e-4);

  const auto sum = fitter->Regress(ChooseTarget(model_.graph, 4, {}, true), *quantized);
  ASSERT_TRUE(sum.ok()) << sum.status();
  const at::Tensor corrected = *sum->FitWeight(weight, 1e-9);
  EXPECT_LT(sum->RelativeError(corrected, sum->FitBias(corrected)),
            0.8 * sum->RelativeError(fitted, own->FitBias(fitted)));
}

// Layers within a residual block, by themselves: the images can only be held where everything goes through. In any
// order of targets it comes to what the network puts out as a whole.
TEST_F(SequentialFitterTest, ALayerWithinABlockWithoutItsSum) {
  const auto quantized = ToQuantizedModel(model_);
  auto fitter = SequentialFitter::Create(model_, images_, 10, &data_);
  ASSERT_TRUE(fitter.ok()) << fitter.status();
  for (const int layer : {1, 2, 4, 4, 6}) {
    const auto regression = fitter->Regress(ChooseTarget(model_.graph, layer, {}, false), *quantized);
    ASSERT_TRUE(regression.ok()) << regression.status();
    const std::string& name = model_.graph.layer(layer).name;
    EXPECT_LT(regression->RelativeError(model_.parameters.at(name + ".weight"), model_.parameters.at(name + ".bias")),
              1e-5)
        << name;
  }
}

// ---- The quantize step ----

class SequentialRunTest : public RunTest {
 protected:
  static std::string Steps(const std::string& sequential, const std::string& quantizer) {
    return absl::StrCat(R"(
      steps { fold { check_images: 32 } }
      steps { calibrate { num_images: 64 batch_size: 16 } }
      steps { quantize { )",
                        sequential, R"(
        rules { weights { quantizer { name: ")",
                        quantizer, R"(" bits: 3 } } activations { quantizer { name: "mse" bits: 4 } } } } }
      steps { evaluate {} }
    )");
  }
};

TEST_F(SequentialRunTest, EachLayerComesCloserThanAsGiven) {
  const auto run = Run(absl::StrCat(TrainedModel(), Steps("sequential {}", "gptq")));
  ASSERT_TRUE(run.ok()) << run.status();
  const auto json = nlohmann::json::parse(Bytes(run->folder, "report.json"));
  const auto& layers = json["steps"][2]["sequential"];
  ASSERT_EQ(layers.size(), 4u);
  EXPECT_EQ(layers[0]["layer"], "conv1");
  for (const auto& layer : layers) {
    EXPECT_LE(layer["error_fitted"], static_cast<double>(layer["error_given"]) * 1.001) << layer;
    EXPECT_GT(layer["error_quantized"], layer["error_fitted"]) << layer;
  }
  const auto again = Run(absl::StrCat(TrainedModel(), Steps("sequential {}", "gptq")));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Bytes(again->folder, "model.safetensors"), Bytes(run->folder, "model.safetensors"));
}

// Of a network with a residual block. (This ended the process once.)
TEST_F(SequentialRunTest, WithoutCorrectingSums) {
  const std::string model = TrainedModel();
  const auto run = Run(absl::StrCat(model, Steps("sequential { correct_sums: false }", "gptq")));
  ASSERT_TRUE(run.ok()) << run.status();
  const auto json = nlohmann::json::parse(Bytes(run->folder, "report.json"));
  const auto& layers = json["steps"][2]["sequential"];
  ASSERT_EQ(layers.size(), 4u);
  for (const auto& layer : layers) {
    EXPECT_LE(layer["error_fitted"], static_cast<double>(layer["error_given"]) * 1.001) << layer;
  }
  const auto corrected = Run(absl::StrCat(model, Steps("sequential {}", "gptq")));
  ASSERT_TRUE(corrected.ok()) << corrected.status();
  EXPECT_NE(Bytes(corrected->folder, "model.safetensors"), Bytes(run->folder, "model.safetensors"));
}

// Without statistics of activations or weights, it is the images that it wants of the calibrate step.
TEST_F(SequentialRunTest, WorksForWeightsAlone) {
  const char kSteps[] = R"(
    steps { fold { check_images: 32 } }
    steps { calibrate { num_images: 64 batch_size: 16 } }
    steps { quantize { sequential { num_images: 32 } rules {
      weights { quantizer { name: "per_channel" bits: 2 } } activations { keep_float {} } } } }
    steps { evaluate {} }
  )";
  const auto run = Run(absl::StrCat(TrainedModel(), kSteps));
  ASSERT_TRUE(run.ok()) << run.status();
  std::string without(kSteps);
  without.erase(without.find("sequential { num_images: 32 }"), std::string("sequential { num_images: 32 }").size());
  EXPECT_THAT(std::string(Plan(absl::StrCat(TrainedModel(), without)).status().message()),
              testing::HasSubstr("no later step wants to know anything about activations; take it out"));
}

TEST_F(SequentialRunTest, GramMatricesAreGatheredForWeightsAlone) {
  const auto run = Run(absl::StrCat(TrainedModel(), R"(
    steps { fold { check_images: 32 } }
    steps { calibrate { num_images: 64 batch_size: 16 } }
    steps { quantize { rules {
      weights { quantizer { name: "gptq" bits: 2 } } activations { keep_float {} } } } }
    steps { evaluate {} }
  )"));
  ASSERT_TRUE(run.ok()) << run.status();
  const auto json = nlohmann::json::parse(Bytes(run->folder, "report.json"));
  EXPECT_EQ(json["steps"][1]["inputs"], 4);
  EXPECT_EQ(json["steps"][1]["tensors"], 0);
}

}  // namespace
}  // namespace lowbit
