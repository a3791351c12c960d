#include "reconstruction/reconstruct_defaults.h"

#include <cmath>
#include <functional>
#include <string>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"

namespace lowbit {
namespace {

ReconstructConfig SpelledOut(ReconstructConfig::Preset preset) {
  ReconstructConfig config;
  config.set_preset(preset);
  SpellOutReconstructDefaults(&config);
  return config;
}

TEST(ReconstructDefaultsTest, EveryFieldOfThePresetsIsSet) {
  for (int preset = ReconstructConfig::Preset_MIN; preset <= ReconstructConfig::Preset_MAX; ++preset) {
    const ReconstructConfig config = SpelledOut(static_cast<ReconstructConfig::Preset>(preset));
    EXPECT_EQ(config.preset(), preset);
    EXPECT_TRUE(config.has_iterations() && config.has_unit() && config.has_rounding() && config.has_rounding_rate() &&
                config.has_weight_scale_rate() && config.has_activation_scale_rate() && config.has_bias_rate() &&
                config.has_activation_iterations() && config.has_float_activations() && config.has_float_inputs() &&
                config.has_regularization() && config.has_prediction_difference())
        << preset;
    EXPECT_EQ(CheckReconstructConfig(config), absl::OkStatus()) << preset;
    ReconstructConfig twice = config;
    SpellOutReconstructDefaults(&twice);
    EXPECT_EQ(twice.SerializeAsString(), config.SerializeAsString());
  }
}

// What tells each from the others, by its paper.
TEST(ReconstructDefaultsTest, Presets) {
  ReconstructConfig config;
  SpellOutReconstructDefaults(&config);
  EXPECT_EQ(config.iterations(), 2000);
  EXPECT_EQ(config.unit(), ReconstructConfig::BLOCK);
  EXPECT_EQ(config.weight_scale_rate(), 1e-3);
  EXPECT_EQ(config.float_inputs(), 0.5);

  const ReconstructConfig adaround = SpelledOut(ReconstructConfig::ADAROUND);
  EXPECT_EQ(adaround.unit(), ReconstructConfig::LAYER);
  EXPECT_EQ(adaround.iterations(), 10000);
  EXPECT_EQ(adaround.activation_scale_rate(), 0);
  EXPECT_EQ(adaround.float_inputs(), 0);

  const ReconstructConfig brecq = SpelledOut(ReconstructConfig::BRECQ);
  EXPECT_EQ(brecq.unit(), ReconstructConfig::BLOCK);
  EXPECT_EQ(brecq.activation_iterations(), 5000);
  EXPECT_EQ(brecq.float_activations(), 0);

  const ReconstructConfig qdrop = SpelledOut(ReconstructConfig::QDROP);
  EXPECT_EQ(qdrop.iterations(), 20000);
  EXPECT_EQ(qdrop.float_activations(), 0.5);
  EXPECT_EQ(qdrop.float_inputs(), 0.5);
  EXPECT_EQ(qdrop.weight_scale_rate(), 0);
  EXPECT_EQ(qdrop.regularization(), 0.01);
  EXPECT_EQ(SpelledOut(ReconstructConfig::GENIE_M).weight_scale_rate(), 1e-4);
  EXPECT_EQ(SpelledOut(ReconstructConfig::GENIE_M).regularization(), 1);
  EXPECT_EQ(SpelledOut(ReconstructConfig::FLEXROUND).rounding(), ReconstructConfig::DIVIDED);
  EXPECT_EQ(SpelledOut(ReconstructConfig::FLEXROUND).regularization(), 0);
  EXPECT_GT(SpelledOut(ReconstructConfig::PD_QUANT).prediction_difference(), 0);
}

TEST(ReconstructDefaultsTest, WhatIsSetStays) {
  ReconstructConfig config;
  config.set_preset(ReconstructConfig::ADAROUND);
  config.set_unit(ReconstructConfig::BLOCK);
  config.set_iterations(7);
  config.set_regularization(0);
  config.set_num_images(99);
  SpellOutReconstructDefaults(&config);
  EXPECT_EQ(config.unit(), ReconstructConfig::BLOCK);
  EXPECT_EQ(config.iterations(), 7);
  EXPECT_EQ(config.regularization(), 0);
  EXPECT_EQ(config.num_images(), 99);
  EXPECT_EQ(config.float_inputs(), 0) << "of the preset";
}

TEST(ReconstructDefaultsTest, BFloat16WantsAProcessorThatHasIt) {
  ReconstructConfig config = SpelledOut(ReconstructConfig::LOWBIT);
  EXPECT_FALSE(config.bfloat16());
  config.set_bfloat16(true);
  const absl::Status status = CheckReconstructConfig(config);
  EXPECT_EQ(status.ok(), HasBFloat16(at::kCPU)) << status;
  if (!status.ok()) {
    EXPECT_EQ(ErrorField(status), "bfloat16");
  }
}

struct BadConfig {
  const char* field;
  const char* message;
  std::function<void(ReconstructConfig&)> change;
};

class ReconstructConfigTest : public testing::TestWithParam<BadConfig> {};

TEST_P(ReconstructConfigTest, NamesTheField) {
  ReconstructConfig config;
  SpellOutReconstructDefaults(&config);
  GetParam().change(config);
  const absl::Status status = CheckReconstructConfig(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(status), GetParam().field);
  EXPECT_EQ(status.message(), GetParam().message);
}

using C = ReconstructConfig;
INSTANTIATE_TEST_SUITE_P(
    All, ReconstructConfigTest,
    testing::Values(
        BadConfig{"num_images", "must be at least 1, got 0", [](C& c) { c.set_num_images(0); }},
        BadConfig{"batch_size", "must be at least 1 and at most num_images, got 0", [](C& c) { c.set_batch_size(0); }},
        BadConfig{"batch_size", "must be at least 1 and at most num_images, got 33",
                  [](C& c) {
                    c.set_batch_size(33);
                    c.set_num_images(32);
                  }},
        BadConfig{"iterations", "must be at least 1, got 0", [](C& c) { c.set_iterations(0); }},
        BadConfig{"hold", "must be in [0, 1], got 1.5", [](C& c) { c.set_hold(1.5); }},
        BadConfig{"rounding_rate", "must be in [0, 1], got nan", [](C& c) { c.set_rounding_rate(std::nan("")); }},
        BadConfig{"weight_scale_rate", "must be in [0, 1], got 2", [](C& c) { c.set_weight_scale_rate(2); }},
        BadConfig{"activation_scale_rate", "must be in [0, 1], got -1", [](C& c) { c.set_activation_scale_rate(-1); }},
        BadConfig{"bias_rate", "must be in [0, 1], got inf", [](C& c) { c.set_bias_rate(INFINITY); }},
        BadConfig{"activation_iterations", "must be at least 0, got -1", [](C& c) { c.set_activation_iterations(-1); }},
        BadConfig{"float_activations", "must be in [0, 1], got 1.1", [](C& c) { c.set_float_activations(1.1); }},
        BadConfig{"float_inputs", "must be in [0, 1], got -0.1", [](C& c) { c.set_float_inputs(-0.1); }},
        BadConfig{"regularization", "must be at least 0, got -1", [](C& c) { c.set_regularization(-1); }},
        BadConfig{"warmup", "must be in [0, 1], got 1.5", [](C& c) { c.set_warmup(1.5); }},
        BadConfig{"start_sharpness", "must be in [1, 100], got 0.5", [](C& c) { c.set_start_sharpness(0.5); }},
        BadConfig{"end_sharpness", "must be in [1, 100], got 101", [](C& c) { c.set_end_sharpness(101); }},
        BadConfig{"prediction_difference", "must be at least 0, got -1", [](C& c) { c.set_prediction_difference(-1); }},
        BadConfig{"prediction_difference",
                  "needs `unit: BLOCK`: the network cannot be gone on with from within a residual block",
                  [](C& c) {
                    c.set_prediction_difference(1);
                    c.set_unit(C::LAYER);
                  }},
        BadConfig{"temperature", "must be in [0.001, 1000], got 0", [](C& c) { c.set_temperature(0); }},
        BadConfig{"memory_mib", "must be at least 0, got -1", [](C& c) { c.set_memory_mib(-1); }}));

}  // namespace
}  // namespace lowbit
