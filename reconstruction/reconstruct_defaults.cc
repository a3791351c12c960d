#include "reconstruction/reconstruct_defaults.h"

#include "base/field_error.h"
#include "base/status_macros.h"
#include "model/executor.h"

namespace lowbit {
namespace {

// QDrop, of which the others are changes: config.yaml for ResNet-18 of its authors.
ReconstructConfig QDrop() {
  ReconstructConfig config;
  config.set_iterations(20000);
  config.set_unit(ReconstructConfig::BLOCK);
  config.set_rounding(ReconstructConfig::UP_OR_DOWN);
  config.set_hold(0);
  config.set_rounding_rate(1e-3);
  config.set_weight_scale_rate(0);
  config.set_activation_scale_rate(4e-5);
  config.set_bias_rate(0);
  config.set_activation_iterations(0);
  config.set_float_activations(0.5);
  config.set_float_inputs(0.5);
  config.set_regularization(0.01);
  config.set_prediction_difference(0);
  return config;
}

ReconstructConfig OfPreset(ReconstructConfig::Preset preset) {
  ReconstructConfig config = QDrop();
  switch (preset) {
    case ReconstructConfig::QDROP:
      break;
    case ReconstructConfig::LOWBIT:
      config.set_iterations(2000);
      config.set_hold(0.8);
      config.set_rounding_rate(3e-2);
      config.set_weight_scale_rate(1e-3);
      config.set_activation_scale_rate(1e-3);
      config.set_bias_rate(1e-3);
      break;
    case ReconstructConfig::ADAROUND:
      config.set_iterations(10000);
      config.set_unit(ReconstructConfig::LAYER);
      config.set_activation_scale_rate(0);
      config.set_float_activations(1);
      config.set_float_inputs(0);
      break;
    case ReconstructConfig::BRECQ:
      config.set_activation_scale_rate(4e-4);
      config.set_activation_iterations(5000);
      config.set_float_activations(0);
      config.set_float_inputs(0);
      break;
    case ReconstructConfig::GENIE_M:
      config.set_weight_scale_rate(1e-4);
      config.set_regularization(1);
      break;
    case ReconstructConfig::FLEXROUND:
      config.set_rounding(ReconstructConfig::DIVIDED);
      config.set_rounding_rate(2e-4);
      config.set_weight_scale_rate(2e-4);
      config.set_regularization(0);
      break;
    case ReconstructConfig::PD_QUANT:
      config.set_rounding_rate(3e-3);
      config.set_prediction_difference(10);
      break;
  }
  return config;
}

}  // namespace

void SpellOutReconstructDefaults(ReconstructConfig* config) {
  ReconstructConfig full = OfPreset(config->preset());
  full.MergeFrom(*config);
  *config = full;
}

absl::Status CheckReconstructConfig(const ReconstructConfig& config) {
  constexpr double kMost = 1e9;
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("num_images", config.num_images(), 1, kMost, "at least 1"));
  LOWBIT_RETURN_IF_ERROR(
      CheckFieldRange("batch_size", config.batch_size(), 1, config.num_images(), "at least 1 and at most num_images"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("iterations", config.iterations(), 1, kMost, "at least 1"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("hold", config.hold(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("rounding_rate", config.rounding_rate(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("weight_scale_rate", config.weight_scale_rate(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("activation_scale_rate", config.activation_scale_rate(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("bias_rate", config.bias_rate(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(
      CheckFieldRange("activation_iterations", config.activation_iterations(), 0, kMost, "at least 0"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("float_activations", config.float_activations(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("float_inputs", config.float_inputs(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("regularization", config.regularization(), 0, kMost, "at least 0"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("warmup", config.warmup(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("start_sharpness", config.start_sharpness(), 1, 100, "in [1, 100]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("end_sharpness", config.end_sharpness(), 1, 100, "in [1, 100]"));
  LOWBIT_RETURN_IF_ERROR(
      CheckFieldRange("prediction_difference", config.prediction_difference(), 0, kMost, "at least 0"));
  if (config.prediction_difference() > 0 && config.unit() == ReconstructConfig::LAYER) {
    return FieldError("prediction_difference",
                      "needs `unit: BLOCK`: the network cannot be gone on with from within a residual block");
  }
  if (config.activation_iterations() > 0 && config.activation_scale_rate() == 0) {
    return FieldError("activation_iterations", "is above 0, but with `activation_scale_rate: 0` they learn nothing");
  }
  if (config.float_activations() == 1 && config.activation_scale_rate() > 0 && config.activation_iterations() == 0 &&
      config.prediction_difference() == 0) {
    return FieldError("float_activations",
                      "is 1, so that the scales of activations are never met: lower it, set activation_iterations, or "
                      "`activation_scale_rate: 0`");
  }
  if (config.bfloat16()) LOWBIT_RETURN_IF_ERROR(CheckBFloat16(at::kCPU));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("memory_mib", config.memory_mib(), 0, kMost, "at least 0"));
  return CheckFieldRange("temperature", config.temperature(), 1e-3, 1e3, "in [0.001, 1000]");
}

}  // namespace lowbit
