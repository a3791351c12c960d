#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/quantizer_testing.h"
#include "quantizers/moving_average/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

absl::StatusOr<std::unique_ptr<Quantizer>> TryCreate(const MovingAverageOptions& options) {
  return CreateQuantizerWith("moving_average", options);
}

QuantParams Fit(const std::vector<float>& values, int bits,
                const MovingAverageOptions& options = MovingAverageOptions(), int64_t images = 1) {
  return FitValues(**TryCreate(options), values, bits, images);
}

// A linear layer with a weight of one row.
QuantParams QuantizeRow(const std::vector<float>& row, int bits,
                        const MovingAverageOptions& options = MovingAverageOptions()) {
  return QuantizeRows(**TryCreate(options), row, 1, bits).params;
}

// Two images, 0 to 15 and 0 to 1500: the average is (0.0099 * 15 + 0.01 * 1500) / 0.0199.
TEST(MovingAverageTest, HandComputed) {
  EXPECT_THAT(Fit({0, 15, 0, 1500}, 4, {}, 2).scale, ElementsAre(testing::FloatEq(15.1485f / 0.0199f / 15)));
  EXPECT_THAT(Fit({0, 15}, 4).scale, ElementsAre(1));
}

TEST(MovingAverageTest, BothEndsMove) {
  // lo = (0.0099 * -1 + 0.01 * -3) / 0.0199, hi = (0.0099 * 2 + 0.01 * 4) / 0.0199
  const QuantParams params = Fit({-1, 2, -3, 4}, 4, {}, 2);
  EXPECT_FLOAT_EQ(params.scale[0], static_cast<float>((0.0399 + 0.0598) / 0.0199 / 15));
  EXPECT_THAT(params.zero_point, ElementsAre(6));  // 0.0399 / 0.0997 * 15 = 6.003
}

// A thousand images up to 1, one of which also holds a 1,000.
TEST(MovingAverageTest, OneImagesOutlierIsForgotten) {
  std::vector<float> values(2000);
  for (size_t i = 1; i < values.size(); i += 2) values[i] = 1;
  values[401] = 1000;
  EXPECT_NEAR(Fit(values, 8, {}, 1000).scale[0], 1 / 255.0, 0.01 / 255);
}

TEST(MovingAverageTest, WeightsReachFromTheSmallestToTheLargest) {
  EXPECT_THAT(QuantizeRow({1.5f, -1.5f, 0.3f}, 4).scale, ElementsAre(0.2f));
  MovingAverageOptions options;
  options.set_weight_scheme(RangeOptions::AFFINE);
  EXPECT_THAT(QuantizeRow({-1, 0, 2}, 2, options).zero_point, ElementsAre(1));
}

TEST(MovingAverageTest, SymmetricActivations) {
  MovingAverageOptions options;
  options.set_activation_scheme(RangeOptions::SYMMETRIC);
  const QuantParams params = Fit({-1, 0.5f, 7.5f}, 4, options);
  EXPECT_TRUE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(1));
}

}  // namespace
}  // namespace lowbit
