#include "train/ema.h"

#include <ATen/ops/tensor.h>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

constexpr int64_t kLate = 100000;  // (1 + step) / (10 + step) is 0.99991.

// The average of one value after one update.
float Averaged(float average, float parameter, double decay, int64_t step) {
  ParameterMap averages = {{"w", at::tensor({average})}};
  UpdateAverage({{"w", at::tensor({parameter})}}, decay, step, averages);
  return averages.at("w").item<float>();
}

TEST(UpdateAverageTest, HandComputed) {
  EXPECT_FLOAT_EQ(Averaged(1, 2, 0.9, kLate), 1.1f);     // 0.9 * 1 + 0.1 * 2
  EXPECT_FLOAT_EQ(Averaged(-4, 8, 0.75, kLate), -1.0f);  // 0.75 * -4 + 0.25 * 8
  EXPECT_FLOAT_EQ(Averaged(3, 3, 0.999, kLate), 3.0f);
}

TEST(UpdateAverageTest, EarlyOnTheDecayIsHeldDown) {
  EXPECT_FLOAT_EQ(Averaged(1, 2, 0.999, 0), 1.9f);   // (1 + 0) / (10 + 0) = 0.1
  EXPECT_FLOAT_EQ(Averaged(1, 2, 0.999, 8), 1.5f);   // 9 / 18
  EXPECT_FLOAT_EQ(Averaged(0, 1, 0.999, 80), 0.1f);  // 81 / 90 = 0.9
  EXPECT_FLOAT_EQ(Averaged(0, 1, 0.8, 80), 0.2f);    // 0.8 is lower than that.
  EXPECT_FLOAT_EQ(Averaged(1, 2, 0.0, 8), 2.0f);     // No memory at all.
}

TEST(UpdateAverageTest, SeveralSteps) {
  // 1 -> 0.5 * 1 + 0.5 * 3 = 2 -> 0.5 * 2 + 0.5 * -2 = 0 -> 0.5 * 0 + 0.5 * 5 = 2.5
  ParameterMap averages = {{"w", at::tensor({1.0f})}};
  for (const float parameter : {3.0f, -2.0f, 5.0f})
    UpdateAverage({{"w", at::tensor({parameter})}}, 0.5, kLate, averages);
  EXPECT_FLOAT_EQ(averages.at("w").item<float>(), 2.5f);
}

TEST(UpdateAverageTest, EveryTensorInPlaceAndTheParametersUntouched) {
  const ParameterMap parameters = {{"bn.running_mean", at::tensor({2.0f, 4.0f})}, {"conv.weight", at::tensor({6.0f})}};
  ParameterMap averages = {{"bn.running_mean", at::tensor({0.0f, 0.0f})}, {"conv.weight", at::tensor({0.0f})}};
  const at::Tensor handle = averages.at("bn.running_mean");
  UpdateAverage(parameters, 0.5, kLate, averages);
  EXPECT_TRUE(handle.equal(at::tensor({1.0f, 2.0f})));
  EXPECT_TRUE(averages.at("conv.weight").equal(at::tensor({3.0f})));
  EXPECT_TRUE(parameters.at("bn.running_mean").equal(at::tensor({2.0f, 4.0f})));
  EXPECT_TRUE(parameters.at("conv.weight").equal(at::tensor({6.0f})));
}

TEST(UpdateAverageTest, KeepsNoAutogradHistory) {
  ParameterMap averages = {{"w", at::tensor({0.0f})}};
  UpdateAverage({{"w", at::tensor({1.0f}).set_requires_grad(true)}}, 0.5, kLate, averages);
  EXPECT_FALSE(averages.at("w").requires_grad());
  EXPECT_EQ(averages.at("w").item<float>(), 0.5f);
}

}  // namespace
}  // namespace lowbit
