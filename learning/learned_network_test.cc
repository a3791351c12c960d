#include "learning/learned_network.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learning/adam.h"
#include "learning/learning_testing.h"
#include "model/executor.h"
#include "model/model_testing.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "train/optimizer.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr LearnedRounding kAll[] = {LearnedRounding::kUpOrDown, LearnedRounding::kDivided, LearnedRounding::kLatent,
                                    LearnedRounding::kAsChosen};

// Relu1 and relu3 become part of what quantizes them, relu2, whose input is quantized too, does not.
Model SmallModel() { return RandomModel(SmallResidualGraph(4, 5, 2), 10, 0.4); }

// Three bits for weights, four for activations; fc stays float.
QuantizedModel Quantized(const Model& model) {
  QuantizedModel quantized = *ToQuantizedModel(model);
  for (const char* layer : {"conv1", "conv2", "conv3"}) {
    const at::Tensor& weight = model.parameters.at(ParameterName(layer, "weight"));
    const QuantParams params = Params(3, true, {0.25f, 0.2f, 0.3f, 0.15f});
    EXPECT_TRUE(SetWeight(layer, {params, Quantize(weight, params)}, &quantized).ok());
  }
  quantized.activations["in"] = Params(8, true, {0.03f});
  quantized.activations["relu1"] = Params(4, false, {0.3f});
  quantized.activations["conv2"] = Params(4, true, {0.4f});
  quantized.activations["relu2"] = Params(3, false, {0.5f});
  quantized.activations["relu3"] = Params(4, false, {0.4f});
  quantized.activations["pool"] = Params(6, false, {0.04f});
  return quantized;
}

LearnedNetworkOptions Options(LearnedRounding rounding) {
  LearnedNetworkOptions options;
  options.rounding = rounding;
  return options;
}

at::Tensor RunQuantized(const QuantizedModel& quantized, const at::Tensor& x, bool activations = true) {
  FakeQuantHook hook(quantized);
  const auto executor = Executor::Create(quantized.graph, *FakeQuantParameters(quantized));
  EXPECT_TRUE(executor.ok()) << executor.status();
  return *executor->Forward(x, activations ? &hook : nullptr);
}

at::Tensor Forward(LearnedNetwork& network, const at::Tensor& x, const ActivationMode& mode = {}) {
  auto y = network.Forward(x, mode);
  EXPECT_TRUE(y.ok()) << y.status();
  return *std::move(y);
}

// (Sums in another order can tip a number over to the next level, but not many.)
double Difference(const at::Tensor& a, const at::Tensor& b) { return a.detach().sub(b).abs().mean().item<double>(); }
constexpr double kClose = 1e-3;

std::string Bytes(const absl::StatusOr<QuantizedModel>& model) {
  EXPECT_TRUE(model.ok()) << model.status();
  const auto bytes = SerializeQuantizedModel(*model);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return *bytes;
}

std::vector<std::string> Names(const ParameterMap& parameters) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : parameters) names.push_back(name);
  return names;
}

// Steps of Adam towards the float network's answers; the last loss.
double Learn(LearnedNetwork& network, const Model& model, const at::Tensor& x, int steps,
             const ActivationMode& mode = {}) {
  const at::Tensor target = *Executor::Create(model.graph, model.parameters)->Forward(x);
  Optimizer roundings(PlainAdam(), network.roundings()), weight_scales(PlainAdam(), network.weight_scales()),
      activation_scales(PlainAdam(), network.activation_scales()), biases(PlainAdam(), network.biases());
  double last = 0;
  for (int i = 0; i < steps; ++i) {
    network.Write();
    const at::Tensor loss = Forward(network, x, mode).sub(target).square().mean();
    last = loss.item<double>();
    loss.backward();
    network.Back();
    roundings.Step(0.02);
    weight_scales.Step(0.01);
    activation_scales.Step(0.01);
    biases.Step(0.01);
    network.KeepScales();
  }
  return last;
}

// Quantized where the network quantizes it, be it that a relu became part of that or not.
TEST(LearnedNetworkTest, KeepsWhatLayersPutOut) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model);
  const auto network = LearnedNetwork::Create(model, start, Options(LearnedRounding::kAsChosen));
  ASSERT_TRUE(network.ok()) << network.status();
  const at::Tensor x = Random({2, 3, 6, 6}, 3);
  (*network)->Write();
  std::map<std::string, at::Tensor> kept;
  for (const char* layer : {"relu1", "conv2", "add", "relu3", "fc"}) kept[layer] = at::Tensor();
  const auto y = (*network)->Forward(x, {}, &kept);
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_TRUE(at::equal(kept.at("fc"), *y));

  // What the slow way puts out, layer by layer.
  class Outputs : public LayerHook {
   public:
    explicit Outputs(const QuantizedModel& quantized) : quantized_(quantized), hook_(quantized) {}
    at::Tensor OnOutput(int layer, at::Tensor y) override {
      y = hook_.OnOutput(layer, y);
      of[quantized_.graph.layer(layer).name] = y.clone();
      return y;
    }
    at::Tensor OnInput(int layer, int input, at::Tensor x) override { return hook_.OnInput(layer, input, x); }
    std::map<std::string, at::Tensor> of;

   private:
    const QuantizedModel& quantized_;
    FakeQuantHook hook_;
  };
  Outputs outputs(start);
  ASSERT_TRUE(Executor::Create(start.graph, *FakeQuantParameters(start))->Forward(x, &outputs).ok());
  for (const char* layer : {"relu1", "conv2", "relu3", "fc"}) {
    EXPECT_LT(Difference(kept.at(layer), outputs.of.at(layer)), kClose) << layer;
  }
  // The relu that became part of a fake quantization has no output of its own before it; nor has what it reads.
  EXPECT_LT(Difference(kept.at("add"), outputs.of.at("relu3")), kClose);
}

TEST(LearnedNetworkTest, BeginsAsTheQuantizedNetwork) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model);
  const at::Tensor x = Random({8, 3, 6, 6}, 1), wanted = RunQuantized(start, x);
  for (const LearnedRounding rounding :
       {LearnedRounding::kDivided, LearnedRounding::kLatent, LearnedRounding::kAsChosen}) {
    auto network = LearnedNetwork::Create(model, start, Options(rounding));
    ASSERT_TRUE(network.ok()) << network.status();
    (*network)->Write();
    EXPECT_LT(Difference(Forward(**network, x), wanted), kClose);
  }
  // (What the numbers are to be held against.)
  EXPECT_GT(Difference(*Executor::Create(model.graph, model.parameters)->Forward(x), wanted), 20 * kClose);
}

// Two significant digits and a bit: some of what is quantized tips over to the next level, the mean stays.
TEST(LearnedNetworkTest, ConvolvesInBFloat16) {
  if (!HasBFloat16(at::kCPU)) GTEST_SKIP() << "no AVX512-BF16 here";
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model);
  const at::Tensor x = Random({32, 3, 6, 6}, 1), wanted = RunQuantized(start, x);
  LearnedNetworkOptions options = Options(LearnedRounding::kLatent);
  options.bfloat16 = true;
  auto network = LearnedNetwork::Create(model, start, options);
  ASSERT_TRUE(network.ok()) << network.status();
  (*network)->Write();
  const at::Tensor y = Forward(**network, x);
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  EXPECT_LT(Difference(y, wanted), 10 * kClose);
  EXPECT_GT(Difference(y, wanted), 0.01 * kClose) << "were in 32 bits";
  y.sum().backward();
  (*network)->Back();
  for (const auto& [name, scale] : (*network)->activation_scales()) {
    EXPECT_EQ(scale.grad().scalar_type(), at::kFloat) << name;
    EXPECT_NE(scale.grad().item<float>(), 0) << name;
  }
  // What it hardens to is made of the 32-bit numbers behind it.
  EXPECT_EQ(Bytes((*network)->Harden()), Bytes(start));
}

// Up or down begins with float weights, where they lie within their grids.
TEST(LearnedNetworkTest, UpOrDownBeginsWithFloatWeights) {
  const Model model = SmallModel();
  QuantizedModel start = Quantized(model);
  QuantizedModel with_float_weights = *ToQuantizedModel(model);
  with_float_weights.activations = start.activations;
  for (const char* layer : {"conv1", "conv2", "conv3"}) {
    const at::Tensor& weight = model.parameters.at(ParameterName(layer, "weight"));
    const float scale = weight.abs().max().item<float>() / 3;
    const QuantParams params = Params(3, true, {scale});
    EXPECT_TRUE(SetWeight(layer, {params, Quantize(weight, params)}, &start).ok());
  }
  const at::Tensor x = Random({8, 3, 6, 6}, 1);
  auto network = LearnedNetwork::Create(model, start, Options(LearnedRounding::kUpOrDown));
  ASSERT_TRUE(network.ok()) << network.status();
  (*network)->Write();
  EXPECT_LT(Difference(Forward(**network, x), RunQuantized(with_float_weights, x)), kClose);
  EXPECT_GT((*network)->Count().undecided, 100);
}

TEST(LearnedNetworkTest, WithoutLearningHardensToTheStart) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model);
  for (const LearnedRounding rounding : kAll) {
    const auto network = LearnedNetwork::Create(model, start, Options(rounding));
    ASSERT_TRUE(network.ok()) << network.status();
    EXPECT_EQ(Bytes((*network)->Harden()), Bytes(start));
    const LearnedCounts counts = (*network)->Count();
    EXPECT_EQ(counts.roundings, 4 * 3 * 9 + 2 * 4 * 2 * 9);
    EXPECT_EQ(counts.flipped, 0);
  }
}

TEST(LearnedNetworkTest, ActivationsCanStayFloat) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model);
  const at::Tensor x = Random({8, 3, 6, 6}, 1);
  auto network = LearnedNetwork::Create(model, start, Options(LearnedRounding::kAsChosen));
  ASSERT_TRUE(network.ok()) << network.status();
  (*network)->Write();
  const at::Tensor none = RunQuantized(start, x, false), all = RunQuantized(start, x);
  EXPECT_LT(Difference(Forward(**network, x, {1, 3}), none), 1e-5);
  // In between it is in between, the same by seed.
  const at::Tensor half = Forward(**network, x, {0.5, 3}).detach();
  EXPECT_GT(Difference(half, none), kClose);
  EXPECT_GT(Difference(half, all), kClose);
  EXPECT_TRUE(at::equal(half, Forward(**network, x, {0.5, 3})));
  EXPECT_FALSE(at::equal(half, Forward(**network, x, {0.5, 4})));
}

TEST(LearnedNetworkTest, OffersWhatTheOptionsSay) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model);
  auto network = LearnedNetwork::Create(model, start, Options(LearnedRounding::kUpOrDown));
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_THAT(Names((*network)->roundings()), ElementsAre("conv1/0", "conv2/0", "conv3/0"));
  EXPECT_THAT(Names((*network)->weight_scales()), ElementsAre("conv1", "conv2", "conv3"));
  EXPECT_THAT(Names((*network)->activation_scales()), ElementsAre("conv2", "in", "pool", "relu1", "relu2", "relu3"));
  EXPECT_THAT(Names((*network)->biases()), ElementsAre("conv1.bias", "conv2.bias", "conv3.bias", "fc.bias"));
  EXPECT_THAT((*LearnedNetwork::Create(model, start, Options(LearnedRounding::kDivided)))->roundings(), SizeIs(9));

  LearnedNetworkOptions nothing = Options(LearnedRounding::kAsChosen);
  nothing.weight_scales = nothing.activation_scales = nothing.biases = false;
  network = LearnedNetwork::Create(model, start, nothing);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_THAT((*network)->roundings(), IsEmpty());
  EXPECT_THAT((*network)->weight_scales(), IsEmpty());
  EXPECT_THAT((*network)->activation_scales(), IsEmpty());
  EXPECT_THAT((*network)->biases(), IsEmpty());
  EXPECT_FALSE(Forward(**network, Random({2, 3, 6, 6}, 1)).requires_grad());
  EXPECT_EQ(Bytes((*network)->Harden()), Bytes(start));
}

// Whatever was learned, what it hardens to is what it put out last; up or down once it is rounded.
TEST(LearnedNetworkTest, HardensToWhatItPutsOut) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model);
  const at::Tensor x = Random({16, 3, 6, 6}, 1), other = Random({8, 3, 6, 6}, 2);
  for (const LearnedRounding rounding : kAll) {
    auto network = LearnedNetwork::Create(model, start, Options(rounding));
    ASSERT_TRUE(network.ok()) << network.status();
    const double first = Learn(**network, model, x, 1), last = Learn(**network, model, x, 30);
    EXPECT_LT(last, 0.8 * first);
    const auto hardened = (*network)->Harden();
    ASSERT_TRUE(hardened.ok()) << hardened.status();
    if (rounding == LearnedRounding::kUpOrDown) {
      (*network)->FreezeWeights();
    } else {
      (*network)->Write();
    }
    EXPECT_LT(Difference(Forward(**network, other), RunQuantized(*hardened, other)), kClose);
    EXPECT_GT(Difference(RunQuantized(start, other), RunQuantized(*hardened, other)), 10 * kClose);
    EXPECT_NE(hardened->parameters.at("conv1.bias").bytes, start.parameters.at("conv1.bias").bytes);
    EXPECT_NE(hardened->activations.at("relu1"), start.activations.at("relu1"));
    EXPECT_NE(hardened->weights.at("conv3").params, start.weights.at("conv3").params);
    EXPECT_EQ(hardened->parameters.at("fc.weight").bytes, start.parameters.at("fc.weight").bytes);
  }
}

// As chosen means it, also when scales move far.
TEST(LearnedNetworkTest, AsChosenKeepsTheCodes) {
  const Model model = SmallModel();
  const QuantizedModel start = Quantized(model);
  auto network = LearnedNetwork::Create(model, start, Options(LearnedRounding::kAsChosen));
  ASSERT_TRUE(network.ok()) << network.status();
  for (const auto& [name, factor] : (*network)->weight_scales()) factor.detach().fill_(0.7);
  EXPECT_EQ((*network)->Count().flipped, 0);
  const auto hardened = (*network)->Harden();
  ASSERT_TRUE(hardened.ok()) << hardened.status();
  for (const auto& [layer, weight] : start.weights) {
    EXPECT_EQ(hardened->weights.at(layer).codes, weight.codes);
    EXPECT_FLOAT_EQ(hardened->weights.at(layer).params.scale[1], 0.7f * weight.params.scale[1]);
  }
  const at::Tensor x = Random({8, 3, 6, 6}, 1);
  (*network)->Write();
  EXPECT_LT(Difference(Forward(**network, x), RunQuantized(*hardened, x)), kClose);
}

TEST(LearnedNetworkTest, FrozenWeightsStay) {
  const Model model = SmallModel();
  const at::Tensor x = Random({16, 3, 6, 6}, 1);
  auto network = LearnedNetwork::Create(model, Quantized(model), Options(LearnedRounding::kUpOrDown));
  ASSERT_TRUE(network.ok()) << network.status();
  Learn(**network, model, x, 10);
  (*network)->FreezeWeights();
  const auto before = (*network)->Harden();
  (*network)->Write();
  EXPECT_LT(Difference(Forward(**network, x), RunQuantized(*before, x)), kClose);
  // Scales of activations are still learned, nothing else.
  Forward(**network, x).sum().backward();
  (*network)->Back();
  EXPECT_TRUE((*network)->activation_scales().at("relu1").grad().defined());
  EXPECT_FALSE((*network)->biases().at("conv1.bias").requires_grad());
  Learn(**network, model, x, 10);
  const auto after = (*network)->Harden();
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_NE(after->activations.at("relu1"), before->activations.at("relu1"));
  for (const auto& [layer, weight] : before->weights) {
    EXPECT_EQ(after->weights.at(layer).codes, weight.codes);
    EXPECT_EQ(after->weights.at(layer).params, weight.params);
  }
  EXPECT_EQ(after->parameters.at("conv1.bias").bytes, before->parameters.at("conv1.bias").bytes);
}

// Roundings that are pressed decide themselves.
TEST(LearnedNetworkTest, RegularizedRoundingsBecomeDecided) {
  const Model model = SmallModel();
  auto network = LearnedNetwork::Create(model, Quantized(model), Options(LearnedRounding::kUpOrDown));
  ASSERT_TRUE(network.ok()) << network.status();
  Optimizer roundings(PlainAdam(), (*network)->roundings());
  const at::Tensor x = Random({2, 3, 6, 6}, 1);
  const int64_t before = (*network)->Count().undecided;
  EXPECT_GT(before, 100);
  double first = -1, sum = 0;
  for (int i = 0; i < 60; ++i) {
    (*network)->Write();
    Forward(**network, x).mul(0).sum().backward();
    (*network)->Back();
    sum = (*network)->Regularize(1, 2);
    if (first < 0) first = sum;
    roundings.Step(0.1);
  }
  EXPECT_LT(sum, 0.05 * first);
  EXPECT_LT((*network)->Count().undecided, before / 10);
}

// Scales cannot go below a tenth of what they were, those of activations neither.
TEST(LearnedNetworkTest, KeepScalesHoldsAllOfThem) {
  const Model model = SmallModel();
  auto network = LearnedNetwork::Create(model, Quantized(model), Options(LearnedRounding::kLatent));
  ASSERT_TRUE(network.ok()) << network.status();
  (*network)->activation_scales().at("relu2").detach().fill_(-1);
  (*network)->weight_scales().at("conv2").detach().fill_(0);
  (*network)->KeepScales();
  const auto hardened = (*network)->Harden();
  ASSERT_TRUE(hardened.ok()) << hardened.status();
  EXPECT_FLOAT_EQ(hardened->activations.at("relu2").scale[0], 0.05f);
  EXPECT_FLOAT_EQ(hardened->activations.at("relu1").scale[0], 0.3f);
  EXPECT_FLOAT_EQ(hardened->weights.at("conv2").params.scale[2], 0.03f);
}

}  // namespace
}  // namespace lowbit
