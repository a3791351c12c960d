#include "reconstruction/block_reconstruction.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>

#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learning/learning_testing.h"
#include "model/model_testing.h"
#include "quant/fake_quant_model.h"
#include "reconstruction/reconstruction_testing.h"

namespace lowbit {
namespace {

// conv [1, 1] on one pixel, weight 0.4 with a step of 1: what comes in is 1 in the quantized network, `float_in` in the
// float one.
BlockTask OnePixel(float float_in, int code = 0) {
  Conv2d conv{1, 1};
  conv.bias = true;
  Model model{Make({{"in", Input{1, 1, 1}, {}}, {"conv", conv, {0}}}),
              {{"conv.weight", at::full({1, 1, 1, 1}, 0.4f)}, {"conv.bias", at::full({1}, 0.25f)}}};
  QuantizedModel quantized = *ToQuantizedModel(model);
  const QuantParams params = Params(2, true, {1});
  EXPECT_TRUE(SetWeight("conv", {params, at::full({1, 1, 1, 1}, code, at::kInt)}, &quantized).ok());
  BlockTask task{"conv",
                 std::move(model),
                 std::move(quantized),
                 at::full({4, 1, 1, 1}, float_in),
                 at::ones({4, 1, 1, 1}),
                 at::full({4, 1, 1, 1}, 0.65f),
                 std::nullopt,
                 at::Tensor()};
  task.seed = 5;
  return task;
}

absl::Status Ignore(const BlockProgress&) { return absl::OkStatus(); }

TEST(ReconstructBlockTest, OnePixelByHand) {
  ReconstructConfig config = Quick(ReconstructConfig::QDROP, 100);
  config.set_batch_size(4);
  config.set_rounding_rate(0);
  config.set_bias_rate(0.05);
  config.set_hold(1);
  const auto result = ReconstructBlock(OnePixel(1), config, &Ignore);
  ASSERT_TRUE(result.ok()) << result.status();
  // The code is 0, so that 0.25 comes out in place of 0.65; the bias takes it over.
  EXPECT_NEAR(result->report.start_error, 0.16, 1e-6);
  EXPECT_LT(result->report.end_error, 0.02);
  EXPECT_EQ(result->report.flipped, 0);
  EXPECT_EQ(result->report.name, "conv");
}

// A rate of 0 leaves the code as it was chosen, though another is nearer to the weight.
TEST(ReconstructBlockTest, WithoutARateRoundingsStay) {
  for (const auto rounding : {ReconstructConfig::UP_OR_DOWN, ReconstructConfig::DIVIDED, ReconstructConfig::LATENT}) {
    ReconstructConfig config = Quick(ReconstructConfig::QDROP, 100);
    config.set_batch_size(4);
    config.set_rounding(rounding);
    config.set_rounding_rate(0);
    config.set_bias_rate(0.05);
    const auto result = ReconstructBlock(OnePixel(1, 1), config, &Ignore);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(UnpackWeight(result->model.weights.at("conv")).item<int>(), 1);
    EXPECT_NEAR(result->report.start_error, 0.36, 1e-6);
    EXPECT_LT(result->report.end_error, 0.02) << "by the bias";
  }
}

TEST(ReconstructBlockTest, OneThatDivergesLaterOnSaysWhen) {
  ReconstructConfig config = Quick(ReconstructConfig::QDROP, 100);
  config.set_batch_size(4);
  config.set_bias_rate(3e37);  // each step moves it as far, until there is no such number
  const BlockTask task = OnePixel(1);
  const auto result = ReconstructBlock(task, config, &Ignore);
  ASSERT_TRUE(result.ok()) << result.status();
  const BlockReport& report = result->report;
  EXPECT_GT(report.steps, 2);
  EXPECT_LT(report.steps, 50);
  EXPECT_EQ(report.fallback, absl::StrCat("the loss became inf at step ", report.steps));
  EXPECT_EQ(report.losses.size(), static_cast<size_t>(report.steps + 1) / 2);
  EXPECT_EQ(report.roundings, 0);
  EXPECT_EQ(Bytes(result->model), Bytes(task.start));
}

TEST(ReconstructBlockTest, WhatTheLastStepBreaksFallsBackToo) {
  ReconstructConfig config = Quick(ReconstructConfig::QDROP, 1);
  config.set_batch_size(4);
  config.set_rounding_rate(0);
  config.set_weight_scale_rate(std::numeric_limits<double>::infinity());  // times a gradient of 0
  const BlockTask task = OnePixel(1);
  const auto result = ReconstructBlock(task, config, &Ignore);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->report.fallback, testing::StartsWith("the last step made of it what cannot be: "));
  EXPECT_EQ(Bytes(result->model), Bytes(task.start));
  EXPECT_EQ(result->report.end_error, result->report.start_error);
}

TEST(ReconstructBlockTest, OneThatDivergesFallsBackToItsStart) {
  ReconstructConfig config = Quick(ReconstructConfig::QDROP, 100);
  config.set_float_inputs(1);
  config.set_batch_size(4);
  const BlockTask task = OnePixel(std::numeric_limits<float>::infinity());
  const auto result = ReconstructBlock(task, config, &Ignore);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->report.fallback, "the loss became inf at step 0");
  EXPECT_EQ(Bytes(result->model), Bytes(task.start));
  EXPECT_EQ(result->report.end_error, result->report.start_error);
  EXPECT_NEAR(result->report.start_error, 0.16, 1e-6);
}

}  // namespace
}  // namespace lowbit
