#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"
#include "quant/quantizer_testing.h"
#include "quantizers/per_channel/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

std::unique_ptr<Quantizer> Create(const PerChannelOptions& options = PerChannelOptions()) {
  return *CreateQuantizerWith("per_channel", options);
}

PerChannelOptions AffineWeights() {
  PerChannelOptions options;
  options.set_weight_scheme(PerChannelOptions::AFFINE);
  return options;
}

std::vector<float> Values(const QuantizedTensor& tensor) {
  const at::Tensor x = Dequantize(tensor.codes, tensor.params);
  return std::vector<float>(x.data_ptr<float>(), x.data_ptr<float>() + x.numel());
}

// A linear layer with a weight of two rows.
QuantizedTensor QuantizeRows(const std::vector<float>& rows, int bits,
                             const PerChannelOptions& options = PerChannelOptions()) {
  return QuantizeRows(*Create(options), rows, 2, bits);
}

QuantParams Fit(const std::vector<float>& values, int bits, const PerChannelOptions& options = PerChannelOptions(),
                int64_t images = 1) {
  return FitValues(*Create(options), values, bits, images);
}

// scale = 2 max|w| / (2^bits - 1): 3 / 15 and 15 / 15.
TEST(PerChannelTest, SymmetricWeights) {
  const QuantizedTensor result = QuantizeRows({1.5f, -1.5f, 0.3f, 7.5f, 2.5f, -7.5f}, 4);
  EXPECT_TRUE(result.params.is_signed);
  EXPECT_THAT(result.params.scale, ElementsAre(0.2f, 1));
  EXPECT_THAT(result.params.zero_point, ElementsAre(0, 0));
  EXPECT_THAT(Codes(result.codes), ElementsAre(7, -8, 2, /**/ 7, 2, -8));
}

TEST(PerChannelTest, OneScaleForTheTensor) {
  PerChannelOptions options;
  options.set_weight_granularity(PerChannelOptions::PER_TENSOR);
  const QuantizedTensor result = QuantizeRows({1.5f, -1.5f, 0.4f, 7.5f, 2.5f, -7.5f}, 4, options);
  EXPECT_THAT(result.params.scale, ElementsAre(1));
  EXPECT_THAT(Codes(result.codes), ElementsAre(2, -2, 0, /**/ 7, 2, -8));
}

// Row 0: lo = -1, hi = 2, scale = 3 / 3, zero point 1. Row 1 is one-sided: lo = 0, hi = 6, scale = 2, zero point 0.
TEST(PerChannelTest, AffineWeights) {
  const QuantizedTensor result = QuantizeRows({-1, 0, 2, 6, 3, 1}, 2, AffineWeights());
  EXPECT_FALSE(result.params.is_signed);
  EXPECT_THAT(result.params.scale, ElementsAre(1, 2));
  EXPECT_THAT(result.params.zero_point, ElementsAre(1, 0));
  EXPECT_THAT(Codes(result.codes), ElementsAre(0, 1, 3, /**/ 3, 2, 0));
  EXPECT_THAT(Values(result), ElementsAre(-1, 0, 2, /**/ 6, 4, 0));
}

TEST(PerChannelTest, NegativeRangesEndAtTheLastCode) {
  const QuantizedTensor result = QuantizeRows({-6, -2, 0, -3, -3, -3}, 2, AffineWeights());
  EXPECT_THAT(result.params.scale, ElementsAre(2, 1));
  EXPECT_THAT(result.params.zero_point, ElementsAre(3, 3));
  EXPECT_THAT(Values(result), ElementsAre(-6, -2, 0, /**/ -3, -3, -3));
}

TEST(PerChannelTest, ErrorsAreAtMostHalfAStepAndZeroIsExact) {
  std::vector<float> rows;
  for (int i = 0; i < 400; ++i)
    rows.push_back(i % 7 == 0 ? 0.0f : std::sin(static_cast<float>(i)) + (i < 200 ? 0.4f : -0.1f));
  for (const bool affine : {false, true}) {
    for (const int bits : {2, 3, 4, 5, 6, 7, 8, 16}) {
      const QuantizedTensor result = QuantizeRows(rows, bits, affine ? AffineWeights() : PerChannelOptions());
      const std::vector<float> values = Values(result);
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_LE(std::fabs(values[i] - rows[i]), result.params.scale[i / 200] * 0.502f)
            << bits << " bits, " << rows[i];
        if (rows[i] == 0) {
          EXPECT_EQ(values[i], 0);
        }
      }
    }
  }
}

TEST(PerChannelTest, ADeadChannelStaysZero) {
  for (const PerChannelOptions& options : {PerChannelOptions(), AffineWeights()}) {
    const QuantizedTensor result = QuantizeRows({0, 0, 0, 1, -1, 1}, 8, options);
    EXPECT_EQ(result.params.scale[0], 1);
    EXPECT_THAT(std::vector<float>({Values(result)[0], Values(result)[1], Values(result)[2]}), ElementsAre(0, 0, 0));
  }
}

TEST(PerChannelTest, TinyAndHugeWeightsStayFinite) {
  const float huge = std::numeric_limits<float>::max();
  for (const PerChannelOptions& options : {PerChannelOptions(), AffineWeights()}) {
    for (const int bits : {1, 2, 8, 16}) {
      for (const float value : Values(QuantizeRows({huge, -huge, 1e-44f, -1e-44f}, bits, options))) {
        EXPECT_TRUE(std::isfinite(value)) << bits;
      }
    }
  }
}

TEST(PerChannelTest, OneBitWeightsAreSignAndMeanMagnitude) {
  EXPECT_THAT(Values(QuantizeRows({0.25f, -0.75f, 0.5f, 0, 6, -3}, 1)), ElementsAre(0.5f, -0.5f, 0.5f, 3, 3, -3));
  EXPECT_THAT(Values(QuantizeRows({0.25f, -0.75f, 0.5f, 0, 6, -3}, 1, AffineWeights())),
              ElementsAre(0.5f, -0.5f, 0.5f, 3, 3, -3));
  PerChannelOptions options;
  options.set_weight_granularity(PerChannelOptions::PER_TENSOR);
  EXPECT_THAT(Values(QuantizeRows({1, -2, 3, -6}, 1, options)), ElementsAre(3, -3, 3, -3));
}

TEST(PerChannelTest, AffineActivations) {
  QuantParams params = Fit({-1, 0.5f, 14}, 4);  // 15 / 15
  EXPECT_FALSE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(1));
  EXPECT_THAT(params.zero_point, ElementsAre(1));
  params = Fit({3, 7.5f}, 4);
  EXPECT_THAT(params.scale, ElementsAre(0.5f)) << "one-sided: 0 to 7.5";
  EXPECT_THAT(params.zero_point, ElementsAre(0));
  params = Fit({-7.5f, -3}, 4);
  EXPECT_THAT(params.scale, ElementsAre(0.5f));
  EXPECT_THAT(params.zero_point, ElementsAre(15));
  params = Fit({0, 0}, 4);
  EXPECT_THAT(params.scale, ElementsAre(1));
  EXPECT_THAT(params.zero_point, ElementsAre(0));
}

TEST(PerChannelTest, SymmetricActivations) {
  PerChannelOptions options;
  options.set_activation_scheme(PerChannelOptions::SYMMETRIC);
  QuantParams params = Fit({-1, 0.5f, 7.5f}, 4, options);
  EXPECT_TRUE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(1));
  EXPECT_THAT(params.zero_point, ElementsAre(0));
  params = Fit({0, 7.5f}, 4, options);
  EXPECT_FALSE(params.is_signed) << "one-sided";
  EXPECT_THAT(params.scale, ElementsAre(0.5f));
  EXPECT_THAT(params.zero_point, ElementsAre(0));
}

TEST(PerChannelTest, MovingAverageForgetsAnOutlier) {
  // Two images, 0 to 15 and 0 to 1500: the average is (0.0099 * 15 + 0.01 * 1500) / 0.0199.
  PerChannelOptions options;
  EXPECT_THAT(Fit({0, 15, 0, 1500}, 4, options, 2).scale, ElementsAre(100));
  options.set_activation_range(PerChannelOptions::MOVING_AVERAGE);
  EXPECT_THAT(Fit({0, 15, 0, 1500}, 4, options, 2).scale, ElementsAre(testing::FloatEq(15.1485f / 0.0199f / 15)));
  EXPECT_THAT(Fit({0, 15}, 4, options).scale, ElementsAre(1));
}

TEST(PerChannelTest, OneBitActivations) {
  QuantParams params = Fit({-1, 0, 3, 2}, 1);  // both signs: -1.5 and 1.5
  EXPECT_TRUE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(3));
  EXPECT_THAT(params.zero_point, ElementsAre(-0.5f));

  params = Fit({1, 0, 3, 2}, 1);  // 0 and 3
  EXPECT_FALSE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(3));
  EXPECT_THAT(params.zero_point, ElementsAre(0));
  EXPECT_EQ(FakeQuantize(at::tensor({1.4f}), params).item<float>(), 0);
  EXPECT_EQ(FakeQuantize(at::tensor({1.6f}), params).item<float>(), 3);

  params = Fit({-1, 0, -3, -2}, 1);  // 0 and -3
  EXPECT_TRUE(params.is_signed);
  EXPECT_THAT(params.zero_point, ElementsAre(0));
  EXPECT_EQ(FakeQuantize(at::tensor({-1.4f}), params).item<float>(), 0);
  EXPECT_EQ(FakeQuantize(at::tensor({-1.6f}), params).item<float>(), -3);
}

}  // namespace
}  // namespace lowbit
