#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer_testing.h"
#include "quantizers/obq/options.pb.h"

namespace lowbit {
namespace {

using testing::AnyOf;
using testing::ElementsAre;

std::unique_ptr<Quantizer> Create(const ObqOptions& options) { return *CreateQuantizerWith("obq", options); }

ObqOptions Plain() {
  ObqOptions options;
  options.set_damping(0);
  options.set_p(2);
  return options;
}

// G^-1 = [[1, -1, 0], [-1, 2, 0], [0, 0, 1]]; codes 0 to 7. Costs are 0.16 / 1, 0.16 / 2 and 0: the 7 goes first, then
// the second 0.4, to 0. The first one becomes 0.4 + 0.2, so 1.
TEST(ObqTest, HandComputed) {
  const InputStatistics input = MomentsOf({2, 1, 0, 1, 1, 0, 0, 0, 1});
  const QuantizedTensor result = QuantizeRows(*Create(Plain()), {0.4f, 0.4f, 7}, 1, 3, &input);
  EXPECT_THAT(result.params.scale, ElementsAre(1));
  EXPECT_THAT(Codes(result.codes), ElementsAre(1, 0, 7));
}

// One bit: +-4/3, codes 0 and -1. 3 is off by 5/3, more than half a step of 8/3, and goes first, though the second one
// would cost less. It leaves the second one at -0.5 + 5/3.
TEST(ObqTest, WhatLiesOutsideOfTheGridGoesFirst) {
  const InputStatistics input = MomentsOf({2, 1, 0, 1, 1, 0, 0, 0, 1});
  const QuantizedTensor result = QuantizeRows(*Create(Plain()), {3, -0.5f, -0.5f}, 1, 1, &input);
  EXPECT_THAT(Codes(result.codes), ElementsAre(0, 0, -1));
}

TEST(ObqTest, IndependentInputsAreRoundedToTheNearest) {
  const InputStatistics input = MomentsOf({1, 0, 0, 0, 2, 0, 0, 0, 3});
  EXPECT_THAT(Codes(QuantizeRows(*Create(Plain()), {0.4f, 0.4f, 7}, 1, 3, &input).codes), ElementsAre(0, 0, 7));
}

TEST(ObqTest, OutputsAreCloserThanThoseOfTheNearestCodes) {
  const int64_t size = 48;
  const Layer layer{"fc", Linear{size, 12, false}, {0}};
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const at::Tensor weight = CorrelatedInputs(12, size, 100 + seed) - CorrelatedInputs(12, size, 200 + seed);
    InputStatistics input(layer.op);
    ASSERT_TRUE(input.Observe(CorrelatedInputs(500, size, seed)).ok());
    for (const int bits : {1, 2, 3, 4, 8}) {
      const auto result = Create(ObqOptions())->QuantizeWeight({layer, weight, bits, &input});
      ASSERT_TRUE(result.ok()) << result.status();
      const QuantizedTensor nearest{result->params, Quantize(weight, result->params)};
      EXPECT_LT(OutputError(weight, *result, input), 0.6 * OutputError(weight, nearest, input))
          << bits << " bits, seed " << seed;
    }
  }
}

// Two inputs that are copies of each other: what one weight is off by, the other makes up for. Which one goes first is
// up to the rounding errors of the inverse.
TEST(ObqTest, IdenticalInputsWithoutDamping) {
  const InputStatistics input = MomentsOf({1, 1, 0, 1, 1, 0, 0, 0, 1});
  const QuantizedTensor result = QuantizeRows(*Create(Plain()), {0.4f, 0.4f, 7}, 1, 3, &input);
  EXPECT_THAT(Codes(result.codes), AnyOf(ElementsAre(0, 1, 7), ElementsAre(1, 0, 7)));
}

// G = R R^T with ones on R's diagonal and -1 above it: every pivot of G's factor is 1, but the inverse has numbers up
// to 4^(K - 2), next to which what is left for the last weights is lost.
TEST(ObqTest, DampsMoreWhereItsPivotsAreLost) {
  for (const int64_t size : {30, 32, 40}) {
    std::vector<double> gram;
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j < size; ++j) {
        const double behind = static_cast<double>(size - 1 - std::max(i, j));  // both are -1 there
        gram.push_back(behind + (i == j ? 1 : -1));
      }
    }
    const InputStatistics input = MomentsOf(gram);
    const Layer layer{"fc", Linear{size, 3, false}, {0}};
    const at::Tensor weight = CorrelatedInputs(3, size, 1) - CorrelatedInputs(3, size, 2);
    for (const int bits : {2, 4, 8}) {
      const auto result = Create(Plain())->QuantizeWeight({layer, weight, bits, &input});
      ASSERT_TRUE(result.ok()) << result.status();
      const QuantizedTensor nearest{result->params, Quantize(weight, result->params)};
      EXPECT_LT(OutputError(weight, *result, input), 1.1 * OutputError(weight, nearest, input))
          << size << " inputs, " << bits << " bits";
    }
  }
}

TEST(ObqTest, WeightsOnlyAndOptions) {
  const Layer relu{"relu", Relu{}, {0}};
  EXPECT_EQ(ErrorField(Create(ObqOptions())->Supports(relu, Role::kActivation, 4)), "name");
  ObqOptions options;
  options.set_damping(2000);
  const absl::Status status = CreateQuantizerWith("obq", options).status();
  EXPECT_EQ(ErrorField(status), "options.damping");
  EXPECT_EQ(status.message(), "must be in [0, 1000], got 2000");
}

}  // namespace
}  // namespace lowbit
