#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <vector>

#include "base/field_error.h"
#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/affine.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer_testing.h"
#include "quantizers/squant/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

std::unique_ptr<Quantizer> Create(const SquantOptions& options) { return *CreateQuantizerWith("squant", options); }

Layer ConvLayer(int64_t in, int64_t out, Pair kernel) {
  Conv2d conv;
  conv.in_channels = in;
  conv.out_channels = out;
  conv.kernel = kernel;
  return Layer{"conv", conv, {0}};
}

// Codes 0 to 7; two kernels of three weights. Rounded, the first one's errors are -0.4 three times: one weight goes up.
// The second one's sum is -0.4, which is left. Over both -0.2 - 0.4: the second kernel's largest error goes up.
TEST(SquantTest, HandComputed) {
  SquantOptions options;
  options.set_p(2);
  const at::Tensor weight = at::tensor({0.4f, 0.4f, 0.4f, 0.3f, 0.1f, 7.0f}).view({1, 2, 1, 3});
  const auto result = Create(options)->QuantizeWeight({ConvLayer(2, 1, {1, 3}), weight, 3});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->params.scale, ElementsAre(1));
  EXPECT_THAT(Codes(result->codes), ElementsAre(1, 0, 0, 1, 0, 7));
}

// Kernels of one weight: 0.4 + 0.4 + 0.3 are -1.1 together.
TEST(SquantTest, LinearLayersHaveTheSecondStageOnly) {
  SquantOptions options;
  options.set_p(2);
  EXPECT_THAT(Codes(QuantizeRows(*Create(options), {0.3f, 0.4f, 0.4f, 7}, 1, 3).codes), ElementsAre(0, 1, 0, 7));
}

// Nothing lies outside of these grids, so every sum can be had.
TEST(SquantTest, SumsOfErrorsAreSmall) {
  Rng rng({1});
  at::Tensor weight = at::empty({6, 20, 3, 3}, at::kFloat);
  for (int64_t i = 0; i < weight.numel(); ++i) weight.data_ptr<float>()[i] = static_cast<float>(rng.Uniform(-1, 1));
  SquantOptions options;
  options.set_p(10);
  const Layer layer = ConvLayer(20, 6, {3, 3});
  for (const int bits : {2, 3, 4, 6}) {
    const auto result = Create(options)->QuantizeWeight({layer, weight, bits});
    ASSERT_TRUE(result.ok()) << result.status();
    const at::Tensor nearest = Dequantize(Quantize(weight, result->params), result->params).contiguous();
    const at::Tensor value = Dequantize(result->codes, result->params).contiguous();
    double largest_nearest = 0;
    for (int64_t o = 0; o < 6; ++o) {
      const double step = static_cast<double>(result->params.scale[static_cast<size_t>(o)]);
      double channel = 0, nearest_channel = 0;
      for (int64_t k = 0; k < 20; ++k) {
        double kernel = 0;
        for (int64_t i = 0; i < 9; ++i) {
          const int64_t at = (o * 20 + k) * 9 + i;
          const double w = static_cast<double>(weight.data_ptr<float>()[at]);
          const double error = (static_cast<double>(value.data_ptr<float>()[at]) - w) / step;
          EXPECT_LE(std::fabs(error), 1 + 1e-3) << "the next code at most";
          kernel += error;
          nearest_channel += (static_cast<double>(nearest.data_ptr<float>()[at]) - w) / step;
        }
        EXPECT_LE(std::fabs(kernel), 1 + 1e-3) << bits << " bits, output " << o << ", kernel " << k;
        channel += kernel;
      }
      EXPECT_LE(std::fabs(channel), 0.5 + 1e-3) << bits << " bits, output " << o;
      largest_nearest = std::max(largest_nearest, std::fabs(nearest_channel));
    }
    EXPECT_GT(largest_nearest, 1.5) << "rounding to the nearest would do";
  }
}

TEST(SquantTest, NeedsNoDataAndTakesNoActivations) {
  const auto quantizer = Create(SquantOptions());
  EXPECT_TRUE(quantizer->weight_stats_request().empty());
  const Layer relu{"relu", Relu{}, {0}};
  const absl::Status status = quantizer->Supports(relu, Role::kActivation, 4);
  EXPECT_EQ(ErrorField(status), "name");
  EXPECT_EQ(status.message(),
            "quantizes weights only, and this is the output of relu; mse or percentile serve activations");
  SquantOptions options;
  options.set_p(0);
  EXPECT_EQ(ErrorField(CreateQuantizerWith("squant", options).status()), "options.p");
}

}  // namespace
}  // namespace lowbit
