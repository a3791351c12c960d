// What every registered quantizer must fulfil, whatever its method. A new plugin is tested here without an edit.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/field_error.h"
#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"
#include "quant/input_statistics.h"
#include "quant/packing.h"
#include "quant/quantizer_registry.h"

namespace lowbit {
namespace {

constexpr int kWidths[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};
constexpr int kNoWidths[] = {-8, 0, 9, 12, 15, 17, 32, 1000};

TEST(QuantizerListTest, TheLinkerDroppedNone) {
  std::vector<std::string> listed = absl::StrSplit(LOWBIT_QUANTIZERS, ',');
  EXPECT_THAT(QuantizerNames(), testing::UnorderedElementsAreArray(listed))
      << "quantizers/plugins.bzl against what registered itself";
}

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
  return x;
}

// Values that such a layer reads: `images` times [C, 6, 6] ([F]).
at::Tensor InputOf(const Layer& layer, int64_t images, uint64_t seed) {
  if (const auto* conv = std::get_if<Conv2d>(&layer.op)) return Normal({images, conv->in_channels, 6, 6}, seed);
  return Normal({images, std::get<Linear>(layer.op).in_features}, seed);
}

std::shared_ptr<const InputStatistics> MomentsOf(const Layer& layer, const at::Tensor& x) {
  auto moments = std::make_shared<InputStatistics>(layer.op);
  const absl::Status observed = moments->Observe(x);
  EXPECT_TRUE(observed.ok()) << observed;
  return moments;
}

struct WeightCase {
  std::string name;
  Layer layer;
  at::Tensor weight;
  std::shared_ptr<const InputStatistics> input;  // what the layer reads, for the plugins that ask
};

WeightCase MakeCase(std::string name, Layer layer, at::Tensor weight) {
  // After a ReLU: not independent of each other, and not of mean 0.
  auto input = MomentsOf(layer, InputOf(layer, 100, 20).clamp_min(0));
  return WeightCase{std::move(name), std::move(layer), std::move(weight), std::move(input)};
}

WeightCase ConvCase(std::string name, int64_t out, int64_t in, Pair kernel, int64_t groups, at::Tensor weight = {}) {
  Conv2d conv;
  conv.in_channels = in;
  conv.out_channels = out;
  conv.kernel = kernel;
  conv.groups = groups;
  if (!weight.defined()) weight = Normal({out, in / groups, kernel[0], kernel[1]}, 1);
  return MakeCase(std::move(name), Layer{"conv", conv, {0}}, std::move(weight));
}

WeightCase LinearCase(std::string name, int64_t out, int64_t in, at::Tensor weight = {}) {
  if (!weight.defined()) weight = Normal({out, in}, 2);
  return MakeCase(std::move(name), Layer{"fc", Linear{in, out, true}, {0}}, std::move(weight));
}

// Weights of usual shapes, and those that are easily forgotten.
std::vector<WeightCase> WeightCases() {
  at::Tensor dead_channel = Normal({4, 3, 3, 3}, 3);
  dead_channel[1].zero_();
  at::Tensor outlier = Normal({4, 2, 3, 3}, 4);
  outlier[2][0][0][0] = 1e30f;
  return {
      ConvCase("3x3", 16, 8, {3, 3}, 1),
      ConvCase("1x1", 5, 7, {1, 1}, 1),
      ConvCase("depthwise", 6, 6, {3, 3}, 6),
      ConvCase("groups, 3x1", 6, 4, {3, 1}, 2),
      ConvCase("one number", 1, 1, {1, 1}, 1),
      ConvCase("first layer", 16, 3, {3, 3}, 1),
      LinearCase("linear", 10, 64),
      LinearCase("one output", 1, 33),
      ConvCase("dead channel", 4, 3, {3, 3}, 1, dead_channel),
      ConvCase("all zero", 4, 3, {3, 3}, 1, at::zeros({4, 3, 3, 3}, at::kFloat)),
      ConvCase("constant", 4, 3, {3, 3}, 1, at::full({4, 3, 3, 3}, -0.3f)),
      ConvCase("positive", 4, 3, {3, 3}, 1, Normal({4, 3, 3, 3}, 5).abs()),
      ConvCase("one outlier", 4, 2, {3, 3}, 1, outlier),
      ConvCase("tiny", 4, 2, {3, 3}, 1, Normal({4, 2, 3, 3}, 6) * at::full({}, 1e-30)),
      ConvCase("channels-last", 4, 3, {3, 3}, 1, Normal({4, 3, 3, 3}, 7).contiguous(at::MemoryFormat::ChannelsLast)),
  };
}

struct InputCase {
  std::string name;
  at::Tensor x;  // [N, ...]
};

// Inputs of which one cannot learn everything: their Gram matrices have no inverse, or one of enormous numbers.
std::vector<InputCase> InputCases(const Layer& layer) {
  at::Tensor dead = InputOf(layer, 50, 21);
  dead.select(1, 0).zero_();
  at::Tensor outlier = InputOf(layer, 50, 22);
  outlier.select(1, 0)[0].fill_(1e30f);
  at::Tensor copies = InputOf(layer, 50, 23);
  copies.copy_(copies.narrow(1, 0, 1).expand_as(copies));
  return {
      {"one image", InputOf(layer, 1, 24)},
      {"a dead input", dead},
      {"all dead", at::zeros_like(dead)},
      {"constant", at::full_like(dead, 2.5f)},
      {"one outlier", outlier},
      {"copies of one", copies},
      {"tiny", InputOf(layer, 50, 25) * at::full({}, 1e-30)},
  };
}

struct ActivationCase {
  std::string name;
  at::Tensor x;  // [N, ...]
};

std::vector<ActivationCase> ActivationCases() {
  at::Tensor outlier = Normal({8, 50}, 8).abs();
  outlier[3][7] = 1e30f;
  return {
      {"both signs", Normal({8, 4, 5, 5}, 9)},
      {"after a ReLU", Normal({8, 4, 5, 5}, 10).clamp_min(0)},
      {"negative", Normal({8, 50}, 11).abs() * at::full({}, -1.0f)},
      {"far from zero", Normal({8, 50}, 12) * at::full({}, 0.01f) + at::full({}, 5.0f)},
      {"all zero", at::zeros({8, 50}, at::kFloat)},
      {"constant", at::full({8, 50}, 2.5f)},
      {"one outlier", outlier},
      {"tiny", Normal({8, 50}, 13) * at::full({}, 1e-30f)},
      {"one value", at::full({1, 1}, -3.0f)},
  };
}

class ConformanceTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto quantizer = CreateQuantizer(GetParam());
    ASSERT_TRUE(quantizer.ok()) << quantizer.status();
    quantizer_ = *std::move(quantizer);
  }

  bool Supports(const Layer& layer, Role role, int bits) const { return quantizer_->Supports(layer, role, bits).ok(); }

  absl::StatusOr<QuantizedTensor> QuantizeWeight(const WeightCase& c, int bits) const {
    return quantizer_->QuantizeWeight(WeightView{c.layer, c.weight, bits, c.input.get()});
  }

  absl::StatusOr<QuantParams> Fit(const at::Tensor& x, int bits) const {
    TensorStatistics statistics(quantizer_->stats_request());
    const absl::Status observed = statistics.Observe(x);
    EXPECT_TRUE(observed.ok()) << observed;
    return quantizer_->FitActivation(ActivationView{kProducer, statistics, bits});
  }

  const Layer kProducer{"relu", Relu{}, {0}};
  std::unique_ptr<Quantizer> quantizer_;
};

double MeanSquare(const at::Tensor& x) { return (x.to(at::kDouble) * x.to(at::kDouble)).mean().item<double>(); }

double MeanSquareError(const QuantizedTensor& quantized, const at::Tensor& weight) {
  return MeanSquare(Dequantize(quantized.codes, quantized.params) - weight);
}

TEST_P(ConformanceTest, SupportsSomething) {
  const std::vector<WeightCase> cases = WeightCases();
  int supported = 0;
  for (const int bits : kWidths) {
    supported += Supports(cases[0].layer, Role::kWeight, bits) + Supports(kProducer, Role::kActivation, bits);
  }
  EXPECT_GT(supported, 0);
}

TEST_P(ConformanceTest, OptionsDescribeThemselves) {
  const auto options = QuantizerOptions(GetParam());
  ASSERT_TRUE(options.ok());
  const google::protobuf::Descriptor* descriptor = (*options)->GetDescriptor();
  EXPECT_EQ(descriptor->full_name().substr(0, 7), "lowbit.");
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = descriptor->field(i);
    EXPECT_NE(field->name(), "bits") << "the width stands beside the name in a rule";
    const bool scalar = !field->is_repeated() && field->message_type() == nullptr;
    EXPECT_TRUE(!scalar || field->has_default_value()) << field->name() << " has no default for --list to show";
  }
}

TEST_P(ConformanceTest, RefusesWidthsThatDoNotExist) {
  const std::vector<WeightCase> cases = WeightCases();
  for (const int bits : kNoWidths) {
    for (const absl::Status& status : {quantizer_->Supports(cases[0].layer, Role::kWeight, bits),
                                       quantizer_->Supports(kProducer, Role::kActivation, bits)}) {
      EXPECT_FALSE(status.ok()) << bits;
      EXPECT_TRUE(ErrorField(status).has_value()) << bits;
      EXPECT_THAT(std::string(status.message()), testing::HasSubstr(absl::StrCat(bits)));
    }
    EXPECT_FALSE(QuantizeWeight(cases[0], bits).ok()) << bits;
  }
}

TEST_P(ConformanceTest, RefusesLayersWithoutAWeight) {
  const Layer relu{"layer1.0.relu", Relu{}, {0}};
  for (const int bits : kWidths) {
    const absl::Status status = quantizer_->Supports(relu, Role::kWeight, bits);
    ASSERT_FALSE(status.ok());
    EXPECT_TRUE(ErrorField(status).has_value());
  }
}

// QuantizeWeight itself checks that codes and parameters are valid.
TEST_P(ConformanceTest, WeightsSurvivePackingAndStayFinite) {
  for (const WeightCase& c : WeightCases()) {
    for (const int bits : kWidths) {
      if (!Supports(c.layer, Role::kWeight, bits)) continue;
      const at::Tensor before = c.weight.clone();
      const auto quantized = QuantizeWeight(c, bits);
      ASSERT_TRUE(quantized.ok()) << c.name << " at " << bits << " bits: " << quantized.status();
      EXPECT_TRUE(at::equal(c.weight, before)) << c.name << ": the weight was written to";
      EXPECT_TRUE(Dequantize(quantized->codes, quantized->params).isfinite().all().item<bool>())
          << c.name << " " << bits;

      const at::Tensor codes = quantized->codes.contiguous();
      const auto span = absl::MakeConstSpan(codes.data_ptr<int32_t>(), static_cast<size_t>(codes.numel()));
      const int64_t row_size = codes.numel() / codes.size(0);
      at::Tensor unpacked = at::empty(codes.sizes(), at::kInt);
      UnpackCodes(PackCodes(span, row_size, bits, quantized->params.qmin()), row_size, bits, quantized->params.qmin(),
                  absl::MakeSpan(unpacked.data_ptr<int32_t>(), static_cast<size_t>(unpacked.numel())));
      EXPECT_TRUE(at::equal(unpacked, codes)) << c.name << " at " << bits << " bits";
    }
  }
}

TEST_P(ConformanceTest, WeightsSurviveWhateverTheirLayersRead) {
  if (quantizer_->weight_stats_request().empty()) GTEST_SKIP() << "does not ask what layers read";
  for (WeightCase c : WeightCases()) {
    for (const InputCase& input : InputCases(c.layer)) {
      c.input = MomentsOf(c.layer, input.x);
      for (const int bits : {1, 2, 4, 8}) {
        if (!Supports(c.layer, Role::kWeight, bits)) continue;
        const auto quantized = QuantizeWeight(c, bits);
        ASSERT_TRUE(quantized.ok()) << c.name << ", " << input.name << ", " << bits << ": " << quantized.status();
        EXPECT_TRUE(Dequantize(quantized->codes, quantized->params).isfinite().all().item<bool>())
            << c.name << ", " << input.name << ", " << bits << " bits";
      }
    }
  }
}

TEST_P(ConformanceTest, WhatLayersReadIsAskedForByName) {
  if (quantizer_->weight_stats_request().empty()) GTEST_SKIP() << "does not ask what layers read";
  WeightCase c = WeightCases()[0];
  c.input = std::make_shared<InputStatistics>(c.layer.op);
  const absl::Status status = QuantizeWeight(c, 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("conv.weight: no calibration image was observed"));
}

TEST_P(ConformanceTest, WeightsAreRoundedToTheNearestWhereItSaysSo) {
  if (!quantizer_->rounds_to_nearest()) GTEST_SKIP() << "chooses codes by another rule";
  for (const WeightCase& c : WeightCases()) {
    for (const int bits : {1, 2, 4, 8}) {
      if (!Supports(c.layer, Role::kWeight, bits)) continue;
      const auto quantized = QuantizeWeight(c, bits);
      ASSERT_TRUE(quantized.ok()) << quantized.status();
      EXPECT_TRUE(at::equal(quantized->codes, Quantize(c.weight.contiguous(), quantized->params)))
          << c.name << " at " << bits << " bits";
    }
  }
}

TEST_P(ConformanceTest, WeightsAreTheSameEveryTimeAndForAnyNumberOfThreads) {
  for (const WeightCase& c : WeightCases()) {
    for (const int bits : {1, 2, 4, 8}) {
      if (!Supports(c.layer, Role::kWeight, bits)) continue;
      at::set_num_threads(1);
      const auto one = QuantizeWeight(c, bits);
      at::set_num_threads(2);
      const auto two = QuantizeWeight(c, bits);
      ASSERT_TRUE(one.ok() && two.ok());
      EXPECT_EQ(one->params, two->params) << c.name << " at " << bits << " bits";
      EXPECT_TRUE(at::equal(one->codes, two->codes)) << c.name << " at " << bits << " bits";
    }
  }
}

TEST_P(ConformanceTest, OneQuantizerServesSeveralThreads) {
  const WeightCase c = WeightCases()[0];
  if (!Supports(c.layer, Role::kWeight, 4)) GTEST_SKIP() << "quantizes no weights of 4 bits";
  const auto alone = QuantizeWeight(c, 4);
  ASSERT_TRUE(alone.ok());
  std::vector<int> same(4, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < same.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const auto result = QuantizeWeight(c, 4);
        same[t] += result.ok() && result->params == alone->params && at::equal(result->codes, alone->codes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(same, testing::Each(10));
}

TEST_P(ConformanceTest, MoreBitsAreCloser) {
  const WeightCase c = WeightCases()[0];
  double previous = std::numeric_limits<double>::infinity();
  for (const int bits : {2, 3, 4, 6, 8, 16}) {
    if (!Supports(c.layer, Role::kWeight, bits)) continue;
    const auto quantized = QuantizeWeight(c, bits);
    ASSERT_TRUE(quantized.ok());
    const double error = MeanSquareError(*quantized, c.weight);
    EXPECT_LT(error, previous) << bits << " bits";
    previous = error;
    if (bits == 8) {
      EXPECT_LT(error, 1e-3 * MeanSquare(c.weight));
    }
  }
}

TEST_P(ConformanceTest, ScalingTheWeightScalesTheResult) {
  const WeightCase c = WeightCases()[0];
  WeightCase doubled = c;
  doubled.weight = c.weight * at::full({}, 2.0f);
  for (const int bits : kWidths) {
    if (!Supports(c.layer, Role::kWeight, bits)) continue;
    const auto one = QuantizeWeight(c, bits);
    const auto two = QuantizeWeight(doubled, bits);
    ASSERT_TRUE(one.ok() && two.ok());
    const at::Tensor expected = Dequantize(one->codes, one->params) * at::full({}, 2.0f);
    EXPECT_TRUE(at::equal(Dequantize(two->codes, two->params), expected)) << bits << " bits";
  }
}

TEST_P(ConformanceTest, BadWeightsAreRefusedByName) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    WeightCase c = WeightCases()[0];
    if (!Supports(c.layer, Role::kWeight, 8)) GTEST_SKIP() << "quantizes no weights of 8 bits";
    c.weight = c.weight.clone();
    c.weight[3][1][2][0] = bad;
    EXPECT_EQ(QuantizeWeight(c, 8).status().message(), "conv.weight: 1 of 1152 values are NaN or infinite");
  }
}

// FitActivation itself checks that the parameters are valid.
TEST_P(ConformanceTest, ActivationsStayFinite) {
  if (!Supports(kProducer, Role::kActivation, 8)) GTEST_SKIP() << "quantizes no activations of 8 bits";
  for (const ActivationCase& c : ActivationCases()) {
    for (const int bits : kWidths) {
      if (!Supports(kProducer, Role::kActivation, bits)) continue;
      const auto params = Fit(c.x, bits);
      ASSERT_TRUE(params.ok()) << c.name << " at " << bits << " bits: " << params.status();
      EXPECT_TRUE(FakeQuantize(c.x, *params).isfinite().all().item<bool>()) << c.name << " at " << bits << " bits";
      const auto again = Fit(c.x, bits);
      ASSERT_TRUE(again.ok());
      EXPECT_EQ(*again, *params) << c.name << " at " << bits << " bits";
    }
  }
}

TEST_P(ConformanceTest, EightBitActivationsAreClose) {
  if (!Supports(kProducer, Role::kActivation, 8)) GTEST_SKIP() << "quantizes no activations of 8 bits";
  for (const ActivationCase& c : ActivationCases()) {
    if (c.name == "one outlier" || c.name == "tiny") continue;  // nobody can be asked to hold on to the rest
    const auto params = Fit(c.x, 8);
    ASSERT_TRUE(params.ok()) << c.name;
    // Of images of a hundred values the average one's extremes, where moving_average clips, lose 3e-3.
    EXPECT_LE(MeanSquare(FakeQuantize(c.x, *params) - c.x), 5e-3 * MeanSquare(c.x)) << c.name;
  }
}

TEST_P(ConformanceTest, ActivationsNeedAnImage) {
  if (!Supports(kProducer, Role::kActivation, 8)) GTEST_SKIP() << "quantizes no activations of 8 bits";
  const TensorStatistics nothing(quantizer_->stats_request());
  EXPECT_EQ(quantizer_->FitActivation(ActivationView{kProducer, nothing, 8}).status().message(),
            "relu: no calibration image was observed, so there is nothing to fit");
}

INSTANTIATE_TEST_SUITE_P(Quantizers, ConformanceTest, testing::ValuesIn(QuantizerNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lowbit
