#include "reconstruction/reconstruction.h"

#include <cmath>
#include <string>
#include <vector>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learning/learning_testing.h"
#include "quant/twin_activations.h"
#include "reconstruction/checkpoint.h"
#include "reconstruction/reconstruct_defaults.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

ReconstructConfig Config(ReconstructConfig::Preset preset, int iterations = 300) {
  ReconstructConfig config;
  config.set_preset(preset);
  config.set_num_images(64);
  config.set_batch_size(16);
  config.set_iterations(iterations);
  config.set_rounding_rate(preset == ReconstructConfig::FLEXROUND ? 1e-3 : 1e-2);
  if (preset == ReconstructConfig::BRECQ) config.set_activation_iterations(50);
  SpellOutReconstructDefaults(&config);
  return config;
}

std::vector<at::Tensor> Images() { return {Random({40, 2, 8, 8}, 100), Random({24, 2, 8, 8}, 101)}; }

ReconstructionCallbacks Ignore() {
  return {[](size_t, const BlockProgress&) { return absl::OkStatus(); },
          [](const ReconstructionState&) { return absl::OkStatus(); }};
}

std::string Bytes(const QuantizedModel& model) { return SerializeQuantizedModel(model).value_or("?"); }

// Mean squared error of the logits.
double LogitError(const Model& model, const QuantizedModel& quantized) {
  auto executor = Executor::Create(model.graph, model.parameters);
  auto network = QuantizedSegment::Create(quantized, model.graph);
  const at::Tensor x = Random({64, 2, 8, 8}, 102);
  return executor->Forward(x)->sub(*network->executor.Forward(x, &network->hook)).pow(2).mean().item<double>();
}

TEST(ReconstructTest, EveryPresetComesCloserThanRoundingToNearest) {
  const Model model = SmallResidualModel();
  const QuantizedModel start = RoundToNearest(model, 3);
  for (const auto preset :
       {ReconstructConfig::LOWBIT, ReconstructConfig::ADAROUND, ReconstructConfig::BRECQ, ReconstructConfig::QDROP,
        ReconstructConfig::GENIE_M, ReconstructConfig::FLEXROUND, ReconstructConfig::PD_QUANT}) {
    const std::string name = ReconstructConfig::Preset_Name(preset);
    const auto done = Reconstruct(model, {start, {}}, Images(), Config(preset), 1, Ignore());
    ASSERT_TRUE(done.ok()) << name << done.status();
    ASSERT_EQ(done->blocks.size(), preset == ReconstructConfig::ADAROUND ? 4u : 3u) << name;
    EXPECT_LT(LogitError(model, done->model), LogitError(model, start)) << name;
    for (const BlockReport& block : done->blocks) {
      EXPECT_LE(block.end_error, block.start_error) << name << block.name;
      EXPECT_FALSE(block.losses.empty());
    }
    EXPECT_LT(done->blocks[1].end_error, done->blocks[1].start_error) << name;
    EXPECT_TRUE(CheckQuantizedModel(done->model).ok());
  }
}

TEST(ReconstructTest, StoppingAndGoingOnEqualsNotStopping) {
  const Model model = SmallResidualModel();
  const QuantizedModel start = RoundToNearest(model, 3);
  const ReconstructConfig config = Config(ReconstructConfig::LOWBIT, 40);
  const auto whole = Reconstruct(model, {start, {}}, Images(), config, 7, Ignore());
  ASSERT_TRUE(whole.ok()) << whole.status();

  const std::string path = testing::TempDir() + "/reconstruction.safetensors";
  const std::string fingerprint = ReconstructionFingerprint(model, start, config, 7, 1);
  ReconstructionCallbacks stop = Ignore();
  stop.on_block = [&](const ReconstructionState& state) { return SaveReconstruction(path, state, fingerprint); };
  stop.on_step = [](size_t block, const BlockProgress& progress) {
    return block == 1 && progress.step == 20 ? absl::CancelledError("stop") : absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(Reconstruct(model, {start, {}}, Images(), config, 7, stop).status()));
  auto saved = LoadReconstruction(path, fingerprint);
  ASSERT_TRUE(saved.ok()) << saved.status();
  ASSERT_EQ(saved->blocks.size(), 1u);
  EXPECT_EQ(saved->blocks[0].name, "stem");
  const auto resumed = Reconstruct(model, *std::move(saved), Images(), config, 7, Ignore());
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_TRUE(Bytes(resumed->model) == Bytes(whole->model));
  EXPECT_EQ(resumed->blocks.size(), 3u);
  // Another seed comes to something else.
  const auto other = Reconstruct(model, {start, {}}, Images(), config, 8, Ignore());
  EXPECT_FALSE(Bytes(other->model) == Bytes(whole->model));
}

TEST(ReconstructTest, ACheckpointOfAnotherReconstructionIsRefused) {
  const Model model = SmallResidualModel();
  const QuantizedModel start = RoundToNearest(model, 3);
  const ReconstructConfig config = Config(ReconstructConfig::QDROP);
  const std::string path = testing::TempDir() + "/other.safetensors";
  const std::string mine = ReconstructionFingerprint(model, start, config, 1, 5);
  ASSERT_TRUE(SaveReconstruction(path, {start, {}}, mine).ok());
  ReconstructConfig more = config;
  more.set_iterations(301);
  const auto message = [&](const std::string& fingerprint) {
    const auto loaded = LoadReconstruction(path, fingerprint);
    EXPECT_TRUE(absl::IsFailedPrecondition(loaded.status())) << loaded.status();
    return std::string(loaded.status().message());
  };
  EXPECT_THAT(message(ReconstructionFingerprint(model, start, more, 1, 5)),
              HasSubstr("\"iterations: 300\" there, \"iterations: 301\" here"));
  EXPECT_THAT(message(ReconstructionFingerprint(model, start, config, 2, 5)), HasSubstr("\"seed: 1\" there"));
  EXPECT_THAT(message(ReconstructionFingerprint(model, start, config, 1, 6)), HasSubstr("images: "));
  EXPECT_THAT(message(ReconstructionFingerprint(SmallResidualModel(9), start, config, 1, 5)),
              HasSubstr("float network"));
  EXPECT_THAT(message(ReconstructionFingerprint(model, RoundToNearest(model, 4), config, 1, 5)),
              HasSubstr("quantized network"));
  // A packed model that is no checkpoint.
  ASSERT_TRUE(SaveQuantizedModel(path, start).ok());
  EXPECT_THAT(std::string(LoadReconstruction(path, mine).status().message()),
              HasSubstr("is no checkpoint of a reconstruction"));
}

TEST(ReconstructTest, ABlockThatDivergesIsKeptAsItWas) {
  const Model model = SmallResidualModel();
  const QuantizedModel start = RoundToNearest(model, 4);
  ReconstructConfig config = Config(ReconstructConfig::LOWBIT, 60);
  config.set_rounding(ReconstructConfig::LATENT);
  config.set_rounding_rate(1);  // whole steps of the grid, each time
  config.set_weight_scale_rate(1);
  config.set_bias_rate(1);
  const auto done = Reconstruct(model, {start, {}}, Images(), config, 1, Ignore());
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_TRUE(Bytes(done->model) == Bytes(start));
  for (const BlockReport& block : done->blocks) {
    EXPECT_THAT(block.fallback, HasSubstr("the error came to")) << block.name;
    EXPECT_EQ(block.end_error, block.start_error);
    EXPECT_EQ(block.flipped, 0);
  }
}

TEST(ReconstructTest, NumbersBeyondFloatsAreAnError) {
  const Model model = SmallResidualModel();
  std::vector<at::Tensor> images = Images();
  images[0].mul_(1e30);  // Their squared error is beyond a float.
  const auto done =
      Reconstruct(model, {RoundToNearest(model, 4), {}}, images, Config(ReconstructConfig::LOWBIT, 10), 1, Ignore());
  EXPECT_TRUE(absl::IsInvalidArgument(done.status())) << done.status();
  EXPECT_THAT(std::string(done.status().message()), HasSubstr("stem: "));
}

TEST(ReconstructTest, ABlockWithNothingToLearnIsLeftAlone) {
  const Model model = SmallResidualModel();
  auto start = ToQuantizedModel(model);
  ASSERT_TRUE(start.ok()) << start.status();
  for (const auto preset : {ReconstructConfig::QDROP, ReconstructConfig::PD_QUANT}) {
    const auto done = Reconstruct(model, {*start, {}}, Images(), Config(preset, 10), 1, Ignore());
    ASSERT_TRUE(done.ok()) << done.status();
    EXPECT_EQ(done->blocks[1].fallback, "there is nothing to learn in it");
    EXPECT_TRUE(Bytes(done->model) == Bytes(*start));
  }
}

// ---- Configs ----

TEST(ReconstructDefaultsTest, WhatIsSetWinsOverThePreset) {
  ReconstructConfig config;
  config.set_preset(ReconstructConfig::GENIE_M);
  config.set_iterations(12);
  SpellOutReconstructDefaults(&config);
  EXPECT_EQ(config.iterations(), 12);
  EXPECT_EQ(config.regularization(), 1);
  EXPECT_EQ(config.float_inputs(), 0.5);
  EXPECT_EQ(config.weight_scale_rate(), 1e-4);
  EXPECT_EQ(config.unit(), ReconstructConfig::BLOCK);
  EXPECT_TRUE(CheckReconstructConfig(config).ok());
}

TEST(ReconstructDefaultsTest, ErrorsNameTheField) {
  const auto field = [](void (*change)(ReconstructConfig*)) {
    ReconstructConfig config;
    SpellOutReconstructDefaults(&config);
    change(&config);
    return ErrorField(CheckReconstructConfig(config)).value_or("none");
  };
  EXPECT_EQ(field([](ReconstructConfig*) {}), "none");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_num_images(0); }), "num_images");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_batch_size(2000); }), "batch_size");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_iterations(0); }), "iterations");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_hold(2); }), "hold");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_rounding_rate(-1); }), "rounding_rate");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_float_inputs(1.5); }), "float_inputs");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_bias_rate(std::nan("")); }), "bias_rate");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_end_sharpness(0); }), "end_sharpness");
  EXPECT_EQ(field([](ReconstructConfig* c) { c->set_temperature(0); }), "temperature");
}

}  // namespace
}  // namespace lowbit
