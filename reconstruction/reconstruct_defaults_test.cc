#include "reconstruction/reconstruct_defaults.h"

#include <cmath>
#include <functional>
#include <iterator>
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

// The table of docs/reconstruction.md.
TEST(ReconstructDefaultsTest, Presets) {
  using C = ReconstructConfig;
  struct Row {
    C::Preset preset;
    C::Unit unit;
    C::Rounding rounding;
    int iterations, activation_iterations;
    double hold, rounding_rate, weight_scale_rate, activation_scale_rate, bias_rate;
    double float_activations, float_inputs, regularization, prediction_difference;
  };
  const Row rows[] = {
      {C::LOWBIT, C::BLOCK, C::UP_OR_DOWN, 2000, 0, 0.8, 3e-2, 1e-3, 1e-3, 1e-3, 0.5, 0.5, 0.01, 0},
      {C::ADAROUND, C::LAYER, C::UP_OR_DOWN, 10000, 0, 0, 1e-3, 0, 0, 0, 1, 0, 0.01, 0},
      {C::BRECQ, C::BLOCK, C::UP_OR_DOWN, 20000, 5000, 0, 1e-3, 0, 4e-4, 0, 0, 0, 0.01, 0},
      {C::QDROP, C::BLOCK, C::UP_OR_DOWN, 20000, 0, 0, 1e-3, 0, 4e-5, 0, 0.5, 0.5, 0.01, 0},
      {C::GENIE_M, C::BLOCK, C::UP_OR_DOWN, 20000, 0, 0, 1e-3, 1e-4, 4e-5, 0, 0.5, 0.5, 1, 0},
      {C::FLEXROUND, C::BLOCK, C::DIVIDED, 20000, 0, 0, 2e-4, 2e-4, 4e-5, 0, 0.5, 0.5, 0, 0},
      {C::PD_QUANT, C::BLOCK, C::UP_OR_DOWN, 20000, 0, 0, 3e-3, 0, 4e-5, 0, 0.5, 0.5, 0.01, 10},
  };
  ASSERT_EQ(std::size(rows), static_cast<size_t>(C::Preset_ARRAYSIZE));
  for (const Row& row : rows) {
    SCOPED_TRACE(C::Preset_Name(row.preset));
    const C config = SpelledOut(row.preset);
    EXPECT_EQ(config.unit(), row.unit);
    EXPECT_EQ(config.rounding(), row.rounding);
    EXPECT_EQ(config.iterations(), row.iterations);
    EXPECT_EQ(config.activation_iterations(), row.activation_iterations);
    EXPECT_EQ(config.hold(), row.hold);
    EXPECT_EQ(config.rounding_rate(), row.rounding_rate);
    EXPECT_EQ(config.weight_scale_rate(), row.weight_scale_rate);
    EXPECT_EQ(config.activation_scale_rate(), row.activation_scale_rate);
    EXPECT_EQ(config.bias_rate(), row.bias_rate);
    EXPECT_EQ(config.float_activations(), row.float_activations);
    EXPECT_EQ(config.float_inputs(), row.float_inputs);
    EXPECT_EQ(config.regularization(), row.regularization);
    EXPECT_EQ(config.prediction_difference(), row.prediction_difference);
  }
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
        BadConfig{"activation_iterations", "is above 0, but with `activation_scale_rate: 0` they learn nothing",
                  [](C& c) {
                    c.set_activation_iterations(1);
                    c.set_activation_scale_rate(0);
                  }},
        BadConfig{"float_activations",
                  "is 1, so that the scales of activations are never met: lower it, set activation_iterations, or "
                  "`activation_scale_rate: 0`",
                  [](C& c) { c.set_float_activations(1); }},
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
