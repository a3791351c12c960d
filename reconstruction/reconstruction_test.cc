#include "reconstruction/reconstruction.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "evaluation/answer_change.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learning/learning_testing.h"
#include "model/executor.h"
#include "model/model_testing.h"
#include "quant/activation_cache.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "reconstruction/checkpoint.h"
#include "reconstruction/reconstruct_defaults.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// in -> conv1 -> relu1 -> conv2 -> relu2 -> conv3 -> add(relu1) -> relu3 -> pool -> flatten -> fc
Model SmallModel() {
  Conv2d first{3, 6, {3, 3}}, next{6, 6, {3, 3}};
  first.padding = next.padding = {1, 1};
  first.bias = next.bias = true;
  Graph graph = Make({{"in", Input{3, 6, 6}, {}},
                      {"conv1", first, {0}},
                      {"relu1", Relu{}, {1}},
                      {"conv2", next, {2}},
                      {"relu2", Relu{}, {3}},
                      {"conv3", next, {4}},
                      {"add", Add{}, {5, 2}},
                      {"relu3", Relu{}, {6}},
                      {"pool", GlobalAvgPool{}, {7}},
                      {"flatten", Flatten{}, {8}},
                      {"fc", Linear{6, 4}, {9}}});
  return RandomModel(std::move(graph), 30, 0.25);
}

// Neighbours are alike, as in photographs: of independent numbers the nearest codes would be the best ones.
at::Tensor Images(int64_t count, uint64_t seed) {
  return Random({count, 1, 1, 1}, seed)
      .add(Random({count, 3, 1, 1}, seed + 1).mul(0.5))
      .add(Random({count, 1, 6, 6}, seed + 2).mul(0.3))
      .add(Random({count, 3, 6, 6}, seed + 3).mul(0.2));
}

class Largest : public LayerHook {
 public:
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    of_layer[layer] = y.max().item<float>();
    return y;
  }
  std::map<int, float> of_layer;
};

// Rounded to the nearest: weights at 3 bits, activations at 4.
QuantizedModel Nearest(const Model& model, const at::Tensor& images) {
  QuantizedModel quantized = *ToQuantizedModel(model);
  for (const std::string layer : {"conv1", "conv2", "conv3", "fc"}) {
    const at::Tensor& weight = model.parameters.at(layer + ".weight");
    std::vector<float> scale;
    for (int64_t c = 0; c < weight.size(0); ++c) scale.push_back(0.3f * weight[c].abs().max().item<float>());
    const QuantParams params = Params(3, true, scale);
    EXPECT_TRUE(SetWeight(layer, {params, Quantize(weight, params)}, &quantized).ok());
  }
  Largest largest;
  EXPECT_TRUE(Executor::Create(model.graph, model.parameters)->Forward(images, &largest).ok());
  for (const int layer : {2, 4, 7}) {
    quantized.activations[model.graph.layer(layer).name] = Params(4, false, {0.8f * largest.of_layer[layer] / 15});
  }
  quantized.activations["in"] = Params(8, true, {0.03f});
  return quantized;
}

// With rates for a few steps.
ReconstructConfig Quick(ReconstructConfig::Preset preset = ReconstructConfig::LOWBIT, int iterations = 40) {
  ReconstructConfig config;
  config.set_preset(preset);
  config.set_num_images(96);
  config.set_batch_size(16);
  config.set_iterations(iterations);
  config.set_rounding_rate(preset == ReconstructConfig::FLEXROUND ? 0.002 : 0.02);
  if (preset != ReconstructConfig::FLEXROUND) config.set_regularization(0.003);  // of few weights
  if (preset == ReconstructConfig::BRECQ) config.set_activation_iterations(iterations / 4);
  SpellOutReconstructDefaults(&config);
  return config;
}

at::Tensor FloatAnswers(const Model& model, const at::Tensor& images) {
  return *Executor::Create(model.graph, model.parameters)->Forward(images);
}

at::Tensor QuantizedAnswers(const QuantizedModel& quantized, const at::Tensor& images) {
  FakeQuantHook hook(quantized);
  const auto answers = Executor::Create(quantized.graph, *FakeQuantParameters(quantized))->Forward(images, &hook);
  EXPECT_TRUE(answers.ok()) << answers.status();
  return *answers;
}

ReconstructionCallbacks Quiet() {
  return {[](size_t, const BlockProgress&) { return absl::OkStatus(); },
          [](const ReconstructionState&) { return absl::OkStatus(); }};
}

std::string Bytes(const QuantizedModel& model) { return *SerializeQuantizedModel(model); }

void ExpectSameReports(const std::vector<BlockReport>& a, const std::vector<BlockReport>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_EQ(a[i].start_error, b[i].start_error);
    EXPECT_EQ(a[i].end_error, b[i].end_error);
    EXPECT_EQ(a[i].steps, b[i].steps);
    EXPECT_EQ(a[i].roundings, b[i].roundings);
    EXPECT_EQ(a[i].undecided, b[i].undecided);
    EXPECT_EQ(a[i].flipped, b[i].flipped);
    EXPECT_EQ(a[i].fallback, b[i].fallback);
  }
}

class ReconstructionTest : public testing::Test {
 protected:
  absl::StatusOr<ReconstructionState> Run(const ReconstructConfig& config, uint64_t seed = 1) const {
    return Reconstruct(model_, {start_, {}}, batches_, config, seed, cache_, Quiet());
  }

  static std::string Path(const char* name) { return absl::StrCat(testing::TempDir(), "/reconstruction_test_", name); }

  const at::Tensor images_ = Images(96, 100);
  const std::vector<at::Tensor> batches_ = {images_.narrow(0, 0, 64), images_.narrow(0, 64, 32)};
  const Model model_ = SmallModel();
  const QuantizedModel start_ = Nearest(model_, images_);
  mutable ActivationCache cache_{testing::TempDir(), 1 << 30};
};

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
  EXPECT_EQ(steps_told, 3 * 50);
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
  EXPECT_EQ(result->blocks.size(), 3u);
}

// ---- Stopping and going on ----

TEST_F(ReconstructionTest, GoingOnGivesTheSameBytes) {
  for (const auto preset : {ReconstructConfig::LOWBIT, ReconstructConfig::PD_QUANT, ReconstructConfig::ADAROUND}) {
    const ReconstructConfig config = Quick(preset, 20);
    const auto whole = Run(config);
    ASSERT_TRUE(whole.ok()) << whole.status();
    for (size_t stop = 1; stop < whole->blocks.size(); ++stop) {
      const std::string path = Path("going_on.safetensors");
      const std::string fingerprint = ReconstructionFingerprint(model_, start_, config, 1, 77);
      ReconstructionCallbacks callbacks = Quiet();
      callbacks.on_block = [&](const ReconstructionState& state) {
        EXPECT_TRUE(SaveReconstruction(path, state, fingerprint).ok());
        return state.blocks.size() == stop ? absl::CancelledError("stop") : absl::OkStatus();
      };
      EXPECT_EQ(Reconstruct(model_, {start_, {}}, batches_, config, 1, cache_, callbacks).status(),
                absl::CancelledError("stop"));
      const auto state = LoadReconstruction(path, fingerprint);
      ASSERT_TRUE(state.ok()) << state.status();
      EXPECT_EQ(state->blocks.size(), stop);
      const auto rest = Reconstruct(model_, *state, batches_, config, 1, cache_, Quiet());
      ASSERT_TRUE(rest.ok()) << rest.status();
      EXPECT_EQ(Bytes(rest->model), Bytes(whole->model)) << preset << " after " << stop;
      ExpectSameReports(rest->blocks, whole->blocks);
    }
  }
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

TEST_F(ReconstructionTest, ACheckpointOfAnotherReconstructionIsRefused) {
  const ReconstructConfig config = Quick();
  const std::string path = Path("another.safetensors");
  const std::string mine = ReconstructionFingerprint(model_, start_, config, 1, 77);
  ASSERT_TRUE(
      SaveReconstruction(path, {start_, {BlockReport{"conv1", 2, 1, 3, 0.5, 7, 5, 4, {0.75, 0.25}, "why"}}}, mine)
          .ok());
  const auto same = LoadReconstruction(path, mine);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(Bytes(same->model), Bytes(start_));
  ExpectSameReports(same->blocks, {BlockReport{"conv1", 2, 1, 3, 0.5, 7, 5, 4, {0.75, 0.25}, "why"}});
  EXPECT_EQ(same->blocks[0].seconds, 0.5);

  // What does not matter for the result.
  ReconstructConfig less_memory = config;
  less_memory.set_memory_mib(10);
  EXPECT_EQ(ReconstructionFingerprint(model_, start_, less_memory, 1, 77), mine);

  ReconstructConfig longer = config;
  longer.set_iterations(41);
  Model other_model = model_;
  other_model.parameters["fc.bias"] = model_.parameters.at("fc.bias").add(1);
  QuantizedModel other_start = start_;
  other_start.activations["relu1"].scale[0] *= 2;
  const auto refused = [&](const std::string& fingerprint) {
    const absl::Status status = LoadReconstruction(path, fingerprint).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                StartsWith(absl::StrCat(path, ": made by another reconstruction, so going on would not be exact: ")));
    return std::string(status.message());
  };
  EXPECT_THAT(refused(ReconstructionFingerprint(model_, start_, longer, 1, 77)),
              HasSubstr("\"iterations: 40\" there, \"iterations: 41\" here"));
  EXPECT_THAT(refused(ReconstructionFingerprint(model_, start_, config, 2, 77)),
              HasSubstr("\"seed: 1\" there, \"seed: 2\" here"));
  EXPECT_THAT(refused(ReconstructionFingerprint(model_, start_, config, 1, 78)),
              HasSubstr("\"images: 000000000000004d\" there, \"images: 000000000000004e\" here"));
  EXPECT_THAT(refused(ReconstructionFingerprint(other_model, start_, config, 1, 77)), HasSubstr("\"float network: "));
  EXPECT_THAT(refused(ReconstructionFingerprint(model_, other_start, config, 1, 77)),
              HasSubstr("\"quantized network: "));
}

TEST_F(ReconstructionTest, APackedModelIsNoCheckpoint) {
  const std::string path = Path("model.safetensors");
  ASSERT_TRUE(SaveQuantizedModel(path, start_).ok());
  EXPECT_EQ(LoadReconstruction(path, "").status(),
            absl::InvalidArgumentError(absl::StrCat(path, ": is no checkpoint of a reconstruction")));
  QuantizedModel broken = start_;
  broken.metadata = {{"lowbit.reconstruction.fingerprint", ""}, {"lowbit.reconstruction.blocks", "[{\"name\": 3}]"}};
  ASSERT_TRUE(SaveQuantizedModel(path, broken).ok());
  const absl::Status status = LoadReconstruction(path, "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), StartsWith(absl::StrCat(path, ": lowbit.reconstruction.blocks: ")));
}

// ---- What goes wrong ----

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

// conv [1, 1] on one pixel: what comes in is 1 in the quantized network, but infinite in the float one.
BlockTask OnePixel(float float_in) {
  Conv2d conv{1, 1};
  conv.bias = true;
  Model model{Make({{"in", Input{1, 1, 1}, {}}, {"conv", conv, {0}}}),
              {{"conv.weight", at::full({1, 1, 1, 1}, 0.4f)}, {"conv.bias", at::full({1}, 0.25f)}}};
  QuantizedModel quantized = *ToQuantizedModel(model);
  const QuantParams params = Params(2, true, {1});
  EXPECT_TRUE(SetWeight("conv", {params, Quantize(model.parameters.at("conv.weight"), params)}, &quantized).ok());
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
