#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>

#include <cmath>
#include <vector>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer_testing.h"
#include "quantizers/gptq/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

std::unique_ptr<Quantizer> Create(const GptqOptions& options) { return *CreateQuantizerWith("gptq", options); }

// Grids whose codes are 0 to 7, of these weights.
GptqOptions Plain() {
  GptqOptions options;
  options.set_damping(0);
  options.set_p(2);
  options.set_act_order(false);
  return options;
}
const std::vector<float> kRow = {0.4f, 0.4f, 7};

// (G^-1) = U^T U with U = [[1, -1, 0], [0, 1, 0], [0, 0, 1]]. 0.4 becomes 0, and the next one 0.4 + 0.4, so 1. The
// outputs' squared error is 2 * 0.16 - 2 * 0.24 + 0.36 = 0.2; both at 0 it would be 0.8.
TEST(GptqTest, HandComputed) {
  const InputStatistics input = MomentsOf({2, 1, 0, 1, 1, 0, 0, 0, 1});
  const QuantizedTensor result = QuantizeRows(*Create(Plain()), kRow, 1, 3, &input);
  EXPECT_THAT(result.params.scale, ElementsAre(1));
  EXPECT_THAT(result.params.zero_point, ElementsAre(0));
  EXPECT_THAT(Codes(result.codes), ElementsAre(0, 1, 7));
}

// In the order of the inputs, U = [[sqrt 2, -1 / sqrt 2], [0, 1 / sqrt 2]]: 0.4 becomes 0, the next one 0.6. With the
// second one first it is the other way round.
TEST(GptqTest, OrderOfTheInputs) {
  const InputStatistics input = MomentsOf({1, 1, 0, 1, 2, 0, 0, 0, 1});
  GptqOptions options = Plain();
  EXPECT_THAT(Codes(QuantizeRows(*Create(options), kRow, 1, 3, &input).codes), ElementsAre(0, 1, 7));
  options.set_act_order(true);
  EXPECT_THAT(Codes(QuantizeRows(*Create(options), kRow, 1, 3, &input).codes), ElementsAre(1, 0, 7));
}

// With inputs that have nothing to do with each other, or with a damping that drowns what they have, each weight gets
// the nearest code.
TEST(GptqTest, IndependentInputsAreRoundedToTheNearest) {
  const InputStatistics independent = MomentsOf({1, 0, 0, 0, 2, 0, 0, 0, 3});
  EXPECT_THAT(Codes(QuantizeRows(*Create(Plain()), kRow, 1, 3, &independent).codes), ElementsAre(0, 0, 7));
  const InputStatistics dependent = MomentsOf({2, 1, 0, 1, 1, 0, 0, 0, 1});
  GptqOptions options = Plain();
  options.set_damping(1000);
  EXPECT_THAT(Codes(QuantizeRows(*Create(options), kRow, 1, 3, &dependent).codes), ElementsAre(0, 0, 7));
}

TEST(GptqTest, OutputsAreCloserThanThoseOfTheNearestCodes) {
  const int64_t size = 48;
  const Layer layer{"fc", Linear{size, 12, false}, {0}};
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const at::Tensor weight = CorrelatedInputs(12, size, 100 + seed) - CorrelatedInputs(12, size, 200 + seed);
    InputStatistics input(layer.op);
    ASSERT_TRUE(input.Observe(CorrelatedInputs(500, size, seed)).ok());
    for (const RangeOptions::Scheme scheme : {RangeOptions::SYMMETRIC, RangeOptions::AFFINE}) {
      for (const int bits : {1, 2, 3, 4, 8}) {
        GptqOptions options;
        options.set_weight_scheme(scheme);
        const auto result = Create(options)->QuantizeWeight({layer, weight, bits, &input});
        ASSERT_TRUE(result.ok()) << result.status();
        const QuantizedTensor nearest{result->params, Quantize(weight, result->params)};
        EXPECT_LT(OutputError(weight, *result, input), 0.7 * OutputError(weight, nearest, input))
            << bits << " bits, seed " << seed;
      }
    }
  }
}

// One group's rows know nothing of the other's inputs.
TEST(GptqTest, GroupsAreLayersOfTheirOwn) {
  Conv2d conv;
  conv.in_channels = conv.out_channels = 8;
  conv.kernel = {3, 3};
  conv.groups = 2;
  Conv2d half = conv;
  half.in_channels = half.out_channels = 4;
  half.groups = 1;
  const at::Tensor x = CorrelatedInputs(40, 8 * 25, 1).view({40, 8, 5, 5});
  const at::Tensor weight = CorrelatedInputs(8, 36, 2).view({8, 4, 3, 3});
  InputStatistics both(conv), second(half);
  ASSERT_TRUE(both.Observe(x).ok());
  ASSERT_TRUE(second.Observe(x.narrow(1, 4, 4)).ok());
  const auto quantizer = Create(GptqOptions());
  const auto together = quantizer->QuantizeWeight({Layer{"conv", conv, {0}}, weight, 3, &both});
  const auto alone = quantizer->QuantizeWeight({Layer{"conv", half, {0}}, weight.narrow(0, 4, 4), 3, &second});
  ASSERT_TRUE(together.ok() && alone.ok());
  EXPECT_TRUE(at::equal(together->codes.narrow(0, 4, 4), alone->codes));
}

TEST(GptqTest, NeedsMomentsOfTheInput) {
  const auto quantizer = Create(GptqOptions());
  EXPECT_TRUE(quantizer->weight_stats_request().moments);
  const Layer layer{"fc", Linear{3, 1, false}, {0}};
  const at::Tensor weight = at::full({1, 3}, 1.0f);
  EXPECT_EQ(quantizer->QuantizeWeight({layer, weight, 4}).status().message(),
            "fc.weight: the calibration did not gather what quantizer \"gptq\" asks for: the moments of what fc reads");
  const InputStatistics nothing(layer.op);
  EXPECT_EQ(quantizer->QuantizeWeight({layer, weight, 4, &nothing}).status().message(),
            "fc.weight: no calibration image was observed, so nothing is known of what fc reads, which quantizer "
            "\"gptq\" asks for");
}

TEST(GptqTest, SaysSoWhereTheGramMatrixCannotBeInverted) {
  const InputStatistics none = MomentsOf({1, 1e9, 0, 1e9, 1, 0, 0, 0, 1});
  const Layer layer{"fc", Linear{3, 1, false}, {0}};
  EXPECT_EQ(Create(GptqOptions())->QuantizeWeight({layer, at::full({1, 3}, 1.0f), 4, &none}).status().message(),
            "fc.weight: the Gram matrix of the inputs cannot be inverted, with no damping up to 1000 of its mean "
            "diagonal; calibrate on more images, or take a quantizer that does without it");
}

TEST(GptqTest, WeightsOnly) {
  const Layer relu{"relu", Relu{}, {0}};
  const absl::Status status = Create(GptqOptions())->Supports(relu, Role::kActivation, 4);
  EXPECT_EQ(ErrorField(status), "name");
  EXPECT_EQ(status.message(),
            "quantizes weights only, and this is the output of relu; mse or percentile serve activations");
}

TEST(GptqTest, RefusesOptions) {
  GptqOptions options;
  options.set_damping(-1);
  const absl::Status status = CreateQuantizerWith("gptq", options).status();
  EXPECT_EQ(ErrorField(status), "options.damping");
  EXPECT_EQ(status.message(), "must be in [0, 1000], got -1");
  options.set_damping(0.01);
  options.set_candidates(1);
  EXPECT_EQ(ErrorField(CreateQuantizerWith("gptq", options).status()), "options.candidates");
}

}  // namespace
}  // namespace lowbit
