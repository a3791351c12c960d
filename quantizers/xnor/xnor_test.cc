#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/pow.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/field_error.h"
#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/channel_grid.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer_testing.h"
#include "quantizers/xnor/options.pb.h"

namespace lowbit {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Truly;

XnorOptions Shifted() {
  XnorOptions options;
  options.set_weight_variant(XnorOptions::SHIFTED);
  options.set_activation_variant(XnorOptions::SHIFTED);
  return options;
}

QuantizedTensor QuantizeRow(const std::vector<float>& row, const XnorOptions& options = XnorOptions()) {
  return QuantizeRows(**CreateQuantizerWith("xnor", options), row, 1, 1);
}

QuantParams Fit(const std::vector<float>& values, const XnorOptions& options = XnorOptions()) {
  return FitValues(**CreateQuantizerWith("xnor", options), values, 1);
}

std::vector<float> Values(const QuantizedTensor& tensor) {
  const at::Tensor x = Dequantize(tensor.codes, tensor.params).contiguous();
  return std::vector<float>(x.data_ptr<float>(), x.data_ptr<float>() + x.numel());
}

double Error(const std::vector<float>& values, const std::vector<float>& quantized) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += std::pow(values[i] - quantized[i], 2);
  return sum;
}

std::vector<float> Normal(int count, double mean, uint64_t seed) {
  Rng rng({seed});
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(mean + rng.Normal()));
  return values;
}

// The mean magnitude is 6 / 4; 0 counts as plus.
TEST(XnorTest, SignAndMeanMagnitudeByHand) {
  const QuantizedTensor row = QuantizeRow({1, -2, 3, 0});
  EXPECT_EQ(row.params.bits, 1);
  EXPECT_THAT(row.params.scale, ElementsAre(3));
  EXPECT_THAT(row.params.zero_point, ElementsAre(-0.5f));
  EXPECT_THAT(Codes(row.codes), ElementsAre(0, -1, 0, 0));
  EXPECT_THAT(Values(row), ElementsAre(1.5f, -1.5f, 1.5f, 1.5f));
}

// Cut after one 0: 0 and 4, squared error 32. After two: 0 and 6, 8. After 4: 4/3 and 8, 96/9. -3 and 3: 44.
TEST(XnorTest, TheBestPairByHand) {
  const QuantizedTensor row = QuantizeRow({4, 0, 8, 0}, Shifted());
  EXPECT_THAT(row.params.scale, ElementsAre(6));
  EXPECT_THAT(row.params.zero_point, ElementsAre(-1));
  EXPECT_THAT(Values(row), ElementsAre(6, 0, 6, 0));
}

TEST(XnorTest, ChannelsHaveTheirOwnPairs) {
  const auto quantizer = CreateQuantizerWith("xnor", XnorOptions());
  EXPECT_THAT(QuantizeRows(**quantizer, {1, -1, 4, -2}, 2, 1).params.scale, ElementsAre(2, 6));
  XnorOptions options;
  options.set_weight_granularity(RangeOptions::PER_TENSOR);
  EXPECT_THAT(QuantizeRows(**CreateQuantizerWith("xnor", options), {1, -1, 4, -2}, 2, 1).params.scale, ElementsAre(4));
}

TEST(XnorTest, NoPairIsBetterThanTheShiftedOne) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> values = Normal(40, 0.1 * static_cast<double>(seed), seed);
    const double shifted = Error(values, Values(QuantizeRow(values, Shifted())));
    EXPECT_LE(shifted, Error(values, Values(QuantizeRow(values))) * (1 + 1e-6));
    // Every other pair of two of 60 numbers.
    if (seed > 5) continue;
    for (int a = -30; a < 30; ++a) {
      for (int b = a + 1; b <= 30; ++b) {
        std::vector<float> nearest;
        for (const float x : values) {
          const float lo = static_cast<float>(a) / 10, hi = static_cast<float>(b) / 10;
          nearest.push_back(std::fabs(x - lo) < std::fabs(x - hi) ? lo : hi);
        }
        ASSERT_LE(shifted, Error(values, nearest) * (1 + 1e-6)) << a << ", " << b;
      }
    }
  }
}

TEST(XnorTest, FarFromZeroThereIsNoShiftedGrid) {
  // 5 and 5.01 would need a zero point of some -500, which no grid has.
  const std::vector<float> values = {5, 5.01f, 5, 5.01f};
  EXPECT_THAT(Values(QuantizeRow(values, Shifted())), testing::Each(testing::FloatEq(5.005f)));
}

TEST(XnorTest, Activations) {
  QuantParams params = Fit({-1, 3, -2, 2});
  EXPECT_THAT(params.scale, ElementsAre(4));
  EXPECT_THAT(params.zero_point, ElementsAre(-0.5f));
  params = Fit({0, 0, 3, 1});  // 0 and twice the mean
  EXPECT_THAT(params.scale, ElementsAre(2));
  EXPECT_THAT(params.zero_point, ElementsAre(-1));
  params = Fit({0, 0, -3, -1});
  EXPECT_THAT(params.scale, ElementsAre(2));
  EXPECT_THAT(params.zero_point, ElementsAre(0));
}

TEST(XnorTest, ShiftedActivationsOfTheHistogram) {
  std::vector<float> values = Normal(4000, 0.3, 7);
  for (float& x : values) x = std::max(x, 0.0f);
  const QuantParams shifted = Fit(values, Shifted());
  const QuantParams sign = Fit(values);
  const at::Tensor x = at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kFloat);
  const auto square = [&](const QuantParams& params) {
    return (FakeQuantize(x, params) - x).pow(2).sum().item<double>();
  };
  EXPECT_LT(square(shifted), 0.85 * square(sign));
  for (const float factor : {0.95f, 1.05f}) {
    QuantParams other = shifted;
    other.scale[0] *= factor;
    EXPECT_GT(square(other), square(shifted));
    other = shifted;
    other.zero_point[0] *= factor;
    EXPECT_GT(square(other), square(shifted));
  }
}

// 3e38 doubled is more than a float32 holds.
TEST(XnorTest, HugeValuesStayFinite) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const XnorOptions& options : {XnorOptions(), Shifted()}) {
    for (const std::vector<float>& values :
         {std::vector<float>{3e38f, -3e38f, 3e38f}, std::vector<float>{kMax, -kMax}, std::vector<float>{kMax, kMax},
          std::vector<float>{-kMax, -3e38f}, std::vector<float>{0, 3e38f, kMax}, std::vector<float>{-kMax, 0}}) {
      const QuantizedTensor row = QuantizeRow(values, options);
      EXPECT_TRUE(row.params.Validate().ok()) << row.params.Validate();
      EXPECT_THAT(ChannelGrid(row.params, 0).Values(), Each(Truly([](float x) { return std::isfinite(x); })));
      EXPECT_THAT(Values(row), Each(Truly([](float x) { return std::isfinite(x); })));
      const QuantParams activation = Fit(values, options);
      EXPECT_THAT(ChannelGrid(activation, 0).Values(), Each(Truly([](float x) { return std::isfinite(x); })));
    }
  }
  EXPECT_THAT(Values(QuantizeRow({3e38f, -3e38f})), ElementsAre(kMax / 2, -kMax / 2));
}

TEST(XnorTest, RefusesOtherWidths) {
  const auto quantizer = CreateQuantizerWith("xnor", XnorOptions());
  const absl::Status status = (*quantizer)->Supports(Layer{"fc", Linear{4, 2, true}, {0}}, Role::kWeight, 2);
  EXPECT_EQ(status.message(), "must be 1 for xnor, got 2; multi_base has more binary tensors");
  EXPECT_EQ(ErrorField(status), "bits");
}

}  // namespace
}  // namespace lowbit
