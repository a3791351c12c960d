#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <vector>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer_testing.h"
#include "quantizers/min_max/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

absl::StatusOr<std::unique_ptr<Quantizer>> Create(const MinMaxOptions& options) {
  return CreateQuantizerWith("min_max", options);
}

std::unique_ptr<Quantizer> Default() { return *Create(MinMaxOptions()); }

// A linear layer with a weight of two rows.
QuantizedTensor QuantizeRows(const std::vector<float>& rows, int bits) {
  return QuantizeRows(*Default(), rows, 2, bits);
}

QuantParams Fit(const std::vector<float>& values, int bits) { return FitValues(*Default(), values, bits); }

// scale = max|w| / 2^(bits-1): 0.8 / 8 and 4 / 8.
TEST(MinMaxTest, WeightsOfFourBits) {
  const QuantizedTensor result = QuantizeRows({0.8f, -0.8f, 0.25f, 4, 1.25f, -1.75f}, 4);
  EXPECT_TRUE(result.params.is_signed);
  EXPECT_THAT(result.params.scale, ElementsAre(0.1f, 0.5f));
  EXPECT_THAT(result.params.zero_point, ElementsAre(0, 0));
  EXPECT_THAT(Codes(result.codes), ElementsAre(7, -8, 2, /**/ 7, 2, -4));  // 8 has no code; 2.5 and -3.5 go to even
}

TEST(MinMaxTest, WeightsOfTwoAndSixteenBits) {
  const QuantizedTensor two = QuantizeRows({1, -1, 0.2f, 0, 0.75f, -0.7f}, 2);
  EXPECT_THAT(two.params.scale, ElementsAre(0.5f, 0.375f));
  EXPECT_THAT(Codes(two.codes), ElementsAre(1, -2, 0, /**/ 0, 1, -2));
  const QuantizedTensor sixteen = QuantizeRows({1, -1, 0.25f, 2, 1, -2}, 16);
  EXPECT_THAT(sixteen.params.scale, ElementsAre(1 / 32768.0f, 1 / 16384.0f));
  EXPECT_THAT(Codes(sixteen.codes), ElementsAre(32767, -32768, 8192, /**/ 32767, 16384, -32768));
}

TEST(MinMaxTest, ScalesOfWeightsHaveAFloor) {
  const QuantizedTensor result = QuantizeRows({0, 0, 1e-6f, -2e-6f}, 8);
  EXPECT_THAT(result.params.scale, ElementsAre(1e-5f, 1e-5f));
  EXPECT_THAT(Codes(result.codes), ElementsAre(0, 0, 0, 0));
}

// Sign and mean magnitude: 0.5 and 3.
TEST(MinMaxTest, WeightsOfOneBit) {
  const QuantizedTensor result = QuantizeRows({0.25f, -0.75f, 0.5f, 0, 6, -3}, 1);
  EXPECT_THAT(result.params.scale, ElementsAre(1, 6));
  EXPECT_THAT(Codes(result.codes), ElementsAre(0, -1, 0, /**/ 0, 0, -1));
  const at::Tensor back = Dequantize(result.codes, result.params);
  EXPECT_THAT(std::vector<float>(back.data_ptr<float>(), back.data_ptr<float>() + 6),
              ElementsAre(0.5f, -0.5f, 0.5f, 3, 3, -3));
}

// lo = -1, hi = 3: scale = 4 / 2^bits, zero point = -2^(bits-1) + 1 / scale.
TEST(MinMaxTest, ActivationsOfBothSigns) {
  QuantParams params = Fit({-1, 0, 3}, 4);
  EXPECT_TRUE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(0.25f));
  EXPECT_THAT(params.zero_point, ElementsAre(-4));
  params = Fit({-1, 0, 3}, 8);
  EXPECT_THAT(params.scale, ElementsAre(1 / 64.0f));
  EXPECT_THAT(params.zero_point, ElementsAre(-64));
  params = Fit({-1, 0, 3}, 16);
  EXPECT_THAT(params.scale, ElementsAre(1 / 16384.0f));
  EXPECT_THAT(params.zero_point, ElementsAre(-16384));
}

TEST(MinMaxTest, ActivationRangesHoldZero) {
  QuantParams params = Fit({2, 3, 4}, 4);  // lo = 0
  EXPECT_THAT(params.scale, ElementsAre(0.25f));
  EXPECT_THAT(params.zero_point, ElementsAre(-8));
  params = Fit({-4, -3}, 4);  // hi = 0; the zero point is one above the last code, as in the original
  EXPECT_THAT(params.scale, ElementsAre(0.25f));
  EXPECT_THAT(params.zero_point, ElementsAre(8));
}

// scale = 8 / 16, lo / scale = -2.5, which rounds to the even -2.
TEST(MinMaxTest, TheZeroPointRoundsHalvesToEven) {
  const QuantParams params = Fit({-1.25f, 6.75f}, 4);
  EXPECT_THAT(params.zero_point, ElementsAre(-8 + 2));
}

TEST(MinMaxTest, ScalesOfActivationsHaveAFloor) {
  QuantParams params = Fit({0, 0}, 8);
  EXPECT_THAT(params.scale, ElementsAre(1e-5f));
  EXPECT_THAT(params.zero_point, ElementsAre(-128));
  params = Fit({-0.1f, 0.3f}, 16);  // 0.4 / 65536 is below it
  EXPECT_THAT(params.scale, ElementsAre(1e-5f));
  EXPECT_THAT(params.zero_point, ElementsAre(-32768 + 10000));
  const at::Tensor x = FakeQuantize(at::tensor({-0.1f, 0.0f, 0.3f}), params);
  EXPECT_NEAR(x[0].item<float>(), -0.1f, 1e-5);
  EXPECT_EQ(x[1].item<float>(), 0);
  EXPECT_NEAR(x[2].item<float>(), 0.3f, 1e-5);
}

TEST(MinMaxTest, ActivationsOfOneBit) {
  const QuantParams params = Fit({-1, 0, 3, 2}, 1);
  EXPECT_THAT(params.scale, ElementsAre(3));  // twice the mean magnitude 1.5
  EXPECT_THAT(params.zero_point, ElementsAre(-0.5f));
}

TEST(MinMaxTest, TheFloorIsAnOption) {
  MinMaxOptions options;
  options.set_min_scale(0.5f);
  const auto quantizer = Create(options);
  ASSERT_TRUE(quantizer.ok());
  const Layer layer{"fc", Linear{1, 1, false}, {0}};
  const auto result = (*quantizer)->QuantizeWeight(WeightView{layer, at::tensor({1.0f}).view({1, 1}), 8});
  EXPECT_THAT(result->params.scale, ElementsAre(0.5f));

  options.set_min_scale(0);
  const absl::Status status = Create(options).status();
  EXPECT_EQ(status.message(), "must be finite and above 0, got 0");
  EXPECT_EQ(ErrorField(status), "options.min_scale");
}

}  // namespace
}  // namespace lowbit
