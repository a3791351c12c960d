#include "reconstruction/reconstruction.h"

#include <ATen/TensorOperators.h>

#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "evaluation/answer_change.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learning/adam.h"
#include "learning/learning_testing.h"
#include "model/executor.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "reconstruction/reconstruction_testing.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::StartsWith;
using ReconstructionTest = ReconstructionFixture;

at::Tensor FloatAnswers(const Model& model, const at::Tensor& images) {
  return *Executor::Create(model.graph, model.parameters)->Forward(images);
}

at::Tensor QuantizedAnswers(const QuantizedModel& quantized, const at::Tensor& images) {
  FakeQuantHook hook(quantized);
  const auto answers = Executor::Create(quantized.graph, *FakeQuantParameters(quantized))->Forward(images, &hook);
  EXPECT_TRUE(answers.ok()) << answers.status();
  return *answers;
}

TEST_F(ReconstructionTest, EveryPresetComesCloserThanTheNearestCodes) {
  const at::Tensor other = Images(200, 200);
  const at::Tensor wanted = FloatAnswers(model_, other);
  const double before = QuantizedAnswers(start_, other).sub(wanted).square().mean().item<double>();
  for (int preset = ReconstructConfig::Preset_MIN; preset <= ReconstructConfig::Preset_MAX; ++preset) {
    const auto result = Run(Quick(static_cast<ReconstructConfig::Preset>(preset), 300));
    ASSERT_TRUE(result.ok()) << preset << result.status();
    ASSERT_EQ(result->blocks.size(), preset == ReconstructConfig::ADAROUND ? 4u : 3u);
    double before_all = 0, after_all = 0;
    int64_t flipped = 0;
    for (const BlockReport& block : result->blocks) {
      EXPECT_LE(block.end_error, block.start_error) << preset << " " << block.name;
      before_all += block.start_error;
      after_all += block.end_error;
      flipped += block.flipped;
    }
    EXPECT_LT(result->blocks[1].end_error, 0.95 * result->blocks[1].start_error) << preset;
    EXPECT_EQ(result->blocks[1].fallback, "") << preset;
    EXPECT_LT(after_all, 0.95 * before_all) << preset;
    EXPECT_GT(flipped, 10) << preset;
    const double after = QuantizedAnswers(result->model, other).sub(wanted).square().mean().item<double>();
    EXPECT_LT(after, 0.7 * before) << preset;
  }
}

// Errors are measured in 32 bits, before and after.
TEST_F(ReconstructionTest, LearnsInBFloat16) {
  if (!HasBFloat16(at::kCPU)) GTEST_SKIP() << "no AVX512-BF16 here";
  for (const auto preset : {ReconstructConfig::LOWBIT, ReconstructConfig::PD_QUANT}) {
    ReconstructConfig config = Quick(preset, 300);
    const auto in_32_bits = Run(config);
    ASSERT_TRUE(in_32_bits.ok()) << in_32_bits.status();
    config.set_bfloat16(true);
    const auto result = Run(config);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->blocks[0].start_error, in_32_bits->blocks[0].start_error);
    double sum = 0, sum_in_32_bits = 0;
    for (size_t i = 0; i < result->blocks.size(); ++i) {
      EXPECT_NE(result->blocks[i].end_error, in_32_bits->blocks[i].end_error) << i;
      EXPECT_LT(result->blocks[i].end_error, result->blocks[i].start_error) << i;
      sum += result->blocks[i].end_error;
      sum_in_32_bits += in_32_bits->blocks[i].end_error;
    }
    EXPECT_LT(sum, 1.1 * sum_in_32_bits) << preset;
  }
}

// The last block is the network's end: its error there is what one computes with the network as a whole.
TEST_F(ReconstructionTest, ReportsErrorsOfTheQuantizedNetwork) {
  std::vector<size_t> blocks_told;
  int64_t steps_told = 0;
  ReconstructionCallbacks callbacks = Quiet();
  callbacks.on_step = [&](size_t block, const BlockProgress& progress) {
    EXPECT_EQ(block, blocks_told.size());
    EXPECT_EQ(progress.step, steps_told % 50 + 1);
    EXPECT_GT(progress.loss, 0);
    ++steps_told;
    return absl::OkStatus();
  };
  callbacks.on_block = [&](const ReconstructionState& state) {
    blocks_told.push_back(state.blocks.size());
    return absl::OkStatus();
  };
  const auto result =
      Reconstruct(model_, {start_, {}}, batches_, Quick(ReconstructConfig::BRECQ, 40), 1, cache_, callbacks);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(blocks_told, ElementsAre(1, 2, 3));
  // Behind the last one no activation is quantized, so it has no second phase.
  EXPECT_EQ(steps_told, 50 + 50 + 40);
  ASSERT_EQ(result->blocks.size(), 3u);
  EXPECT_EQ(result->blocks[0].name, "conv1");
  EXPECT_EQ(result->blocks[1].name, "conv2 to conv3");
  EXPECT_EQ(result->blocks[1].roundings, 2 * 6 * 6 * 9);
  EXPECT_EQ(result->blocks[1].steps, 50);
  EXPECT_EQ(result->blocks[2].name, "fc");
  const at::Tensor difference = QuantizedAnswers(result->model, images_).sub(FloatAnswers(model_, images_));
  EXPECT_NEAR(result->blocks[2].end_error, difference.square().sum(1).mean().item<double>(), 1e-4);
  // Codes that changed, counted here.
  int64_t flipped = 0;
  for (const auto& [layer, weight] : start_.weights) {
    flipped += UnpackWeight(weight).ne(UnpackWeight(result->model.weights.at(layer))).sum().item<int64_t>();
  }
  EXPECT_EQ(flipped, result->blocks[0].flipped + result->blocks[1].flipped + result->blocks[2].flipped);
}

TEST_F(ReconstructionTest, LayerByLayer) {
  const auto result = Run(Quick(ReconstructConfig::ADAROUND));
  ASSERT_TRUE(result.ok()) << result.status();
  std::vector<std::string> names;
  for (const BlockReport& block : result->blocks) names.push_back(block.name);
  EXPECT_THAT(names, ElementsAre("conv1", "conv2", "conv3", "fc"));
  // It learns nothing but roundings.
  EXPECT_EQ(result->model.activations, start_.activations);
  for (const auto& [layer, weight] : start_.weights) EXPECT_EQ(result->model.weights.at(layer).params, weight.params);
  EXPECT_TRUE(result->model.parameters.at("conv1.bias") == start_.parameters.at("conv1.bias"));
}

TEST_F(ReconstructionTest, AsChosenLeavesCodesAlone) {
  ReconstructConfig config = Quick();
  config.set_rounding(ReconstructConfig::AS_CHOSEN);
  config.set_weight_scale_rate(0.02);
  const auto result = Run(config);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LT(result->blocks[1].end_error, result->blocks[1].start_error);
  for (const auto& [layer, weight] : start_.weights) {
    EXPECT_EQ(result->model.weights.at(layer).codes, weight.codes) << layer;
    EXPECT_NE(result->model.weights.at(layer).params, weight.params) << layer;
  }
  EXPECT_EQ(result->blocks[1].flipped, 0);
}

TEST_F(ReconstructionTest, TheSameSeedGivesTheSameBytes) {
  const auto first = Run(Quick()), second = Run(Quick()), other = Run(Quick(), 2);
  ASSERT_TRUE(first.ok() && second.ok() && other.ok());
  EXPECT_EQ(Bytes(first->model), Bytes(second->model));
  ExpectSameReports(first->blocks, second->blocks);
  EXPECT_NE(Bytes(first->model), Bytes(other->model));
}

TEST_F(ReconstructionTest, ActivationsOnTheDiskGiveTheSameBytes) {
  ReconstructConfig config = Quick();
  config.set_prediction_difference(1);
  const auto wanted = Run(config);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  EXPECT_EQ(cache_.most_in_files(), 0);
  EXPECT_EQ(cache_.in_memory(), 0);
  const int64_t largest = 96 * 6 * 6 * 6 * 4;  // bytes of what relu1 puts out
  for (const int64_t memory : {int64_t{0}, largest, 3 * largest}) {
    ActivationCache cache(testing::TempDir(), memory);
    const auto state = Reconstruct(model_, {start_, {}}, batches_, config, 1, cache, Quiet());
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_EQ(Bytes(state->model), Bytes(wanted->model));
    ExpectSameReports(state->blocks, wanted->blocks);
    EXPECT_GT(cache.most_in_files(), 0) << memory;
    EXPECT_LT(cache.most_in_files(), 6 * largest);
    EXPECT_EQ(cache.in_files(), 0);
    EXPECT_EQ(cache.in_memory(), 0);
  }
  ActivationCache broken("/no/such/folder", 0);
  EXPECT_EQ(Reconstruct(model_, {start_, {}}, batches_, config, 1, broken, Quiet()).status().code(),
            absl::StatusCode::kNotFound);
}

// 10 times the divergence of the answers, with only the last layer quantized.
TEST_F(ReconstructionTest, PredictionDifferenceIsPartOfTheError) {
  QuantizedModel only_fc = *ToQuantizedModel(model_);
  const PackedWeight& fc = start_.weights.at("fc");
  ASSERT_TRUE(SetWeight("fc", {fc.params, UnpackWeight(fc)}, &only_fc).ok());
  ReconstructConfig config = Quick(ReconstructConfig::QDROP, 1);
  const auto without = Reconstruct(model_, {only_fc, {}}, batches_, config, 1, cache_, Quiet());
  config.set_prediction_difference(10);
  config.set_temperature(1);
  const auto with = Reconstruct(model_, {only_fc, {}}, batches_, config, 1, cache_, Quiet());
  ASSERT_TRUE(without.ok() && with.ok()) << without.status() << with.status();
  AnswerChange change;
  ASSERT_TRUE(change.Add(FloatAnswers(model_, images_), QuantizedAnswers(only_fc, images_)).ok());
  EXPECT_GT(change.kl(), 1e-3);
  EXPECT_NEAR(with->blocks.back().start_error - without->blocks.back().start_error, 10 * change.kl(), 1e-4);
  // Before it everything is float.
  EXPECT_NEAR(with->blocks.front().start_error, 0, 1e-5);
}

// The last block puts out no quantized activation, so that nothing is left to learn in the second phase.
TEST_F(ReconstructionTest, PredictionDifferenceWithNothingToLearn) {
  ReconstructConfig config = Quick(ReconstructConfig::BRECQ, 8);
  config.set_prediction_difference(1);
  const auto result = Run(config);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->blocks.size(), 3u);
  EXPECT_EQ(result->blocks[1].steps, 8 + 2);
  EXPECT_EQ(result->blocks[2].steps, 8);
}

// The answers' part of the loss has gradients for the activations' scales in the first phase, too, which is not to move
// them, then or later: Adam's first two steps are as long as their rates.
TEST_F(ReconstructionTest, TheSecondPhaseBeginsAnew) {
  ReconstructConfig config = Quick(ReconstructConfig::BRECQ, 50);
  config.set_batch_size(96);
  config.set_prediction_difference(1000);
  config.set_rounding_rate(1e-9);
  config.set_activation_scale_rate(0.01);
  config.set_activation_iterations(2);
  QuantizedModel start = start_;
  float& scale = start.activations.at("relu1").scale[0];
  scale *= 0.5f;  // it cuts off much
  const auto result = Reconstruct(model_, {start, {}}, batches_, config, 1, cache_, Quiet());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->blocks[0].fallback, "");
  EXPECT_NEAR(result->model.activations.at("relu1").scale[0] / scale, 1 + 0.01 * (1 + CosineFactor(1, 2)), 5e-4);
}

TEST_F(ReconstructionTest, ErrorsOfWhoeverIsToldEndIt) {
  ReconstructionCallbacks callbacks = Quiet();
  callbacks.on_step = [](size_t block, const BlockProgress& progress) {
    return block == 1 && progress.step == 3 ? absl::CancelledError("interrupted") : absl::OkStatus();
  };
  EXPECT_EQ(Reconstruct(model_, {start_, {}}, batches_, Quick(), 1, cache_, callbacks).status(),
            absl::CancelledError("interrupted"));
  // No error of theirs is mistaken for a block that diverged.
  callbacks.on_step = [](size_t block, const BlockProgress&) {
    return block == 1 ? absl::FailedPreconditionError("closed") : absl::OkStatus();
  };
  EXPECT_EQ(Reconstruct(model_, {start_, {}}, batches_, Quick(), 1, cache_, callbacks).status(),
            absl::FailedPreconditionError("conv2 to conv3: closed"));
}

// Rates of 1 throw scales and biases about.
TEST_F(ReconstructionTest, ABlockThatGetsWorseIsKeptAsItWas) {
  ReconstructConfig config = Quick(ReconstructConfig::LOWBIT, 2);
  config.set_rounding_rate(1);
  config.set_weight_scale_rate(1);
  config.set_activation_scale_rate(1);
  config.set_bias_rate(1);
  const auto result = Run(config);
  ASSERT_TRUE(result.ok()) << result.status();
  for (const BlockReport& block : result->blocks) {
    EXPECT_THAT(block.fallback, StartsWith("the error came to ")) << block.name;
    EXPECT_EQ(block.end_error, block.start_error);
    EXPECT_EQ(block.flipped, 0);
  }
  EXPECT_EQ(Bytes(result->model), Bytes(start_));
}

TEST_F(ReconstructionTest, NanImagesAreAnError) {
  at::Tensor broken = images_.clone();
  broken[70][1][2][3] = std::numeric_limits<float>::quiet_NaN();
  const absl::Status status = Reconstruct(model_, {start_, {}}, {broken}, Quick(), 1, cache_, Quiet()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "conv1: before anything is learned its error is NaN or infinite: numbers of the images or of the networks "
            "are, or are too large");
}

}  // namespace
}  // namespace lowbit
