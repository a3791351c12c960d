#include "pipeline/create_step.h"

#include "base/field_error.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

absl::StatusOr<std::unique_ptr<Step>> Make(const StepConfig& config) {
  switch (config.kind_case()) {
    case StepConfig::kSummary:
      return MakeSummaryStep(config.summary());
    case StepConfig::kTrain:
      return MakeTrainStep(config.train());
    case StepConfig::kFold:
      return MakeFoldStep(config.fold());
    case StepConfig::kCalibrate:
      return MakeCalibrateStep(config.calibrate());
    case StepConfig::kQuantize:
      return MakeQuantizeStep(config.quantize());
    case StepConfig::kEvaluate:
      return MakeEvaluateStep(config.evaluate());
    case StepConfig::kBenchmark:
      return MakeBenchmarkStep(config.benchmark());
    case StepConfig::kSave:
      return MakeSaveStep(config.save());
    case StepConfig::kTorchInt8:
      return MakeTorchInt8Step(config.torch_int8());
    case StepConfig::kEqualize:
      return MakeEqualizeStep(config.equalize());
    case StepConfig::kSplitShortcuts:
      return MakeSplitShortcutsStep(config.split_shortcuts());
    case StepConfig::kBiasCorrection:
      return MakeBiasCorrectionStep(config.bias_correction());
    case StepConfig::kReestimateBatchNorm:
      return MakeReestimateBatchNormStep(config.reestimate_batch_norm());
    case StepConfig::kLapq:
      return MakeLapqStep(config.lapq());
    case StepConfig::kSensitivity:
      return MakeSensitivityStep(config.sensitivity());
    case StepConfig::kMixedPrecision:
      return MakeMixedPrecisionStep(config.mixed_precision());
    case StepConfig::kDistill:
      return MakeDistillStep(config.distill());
    case StepConfig::kReconstruct:
      return MakeReconstructStep(config.reconstruct());
    case StepConfig::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("is empty; it should hold one step, such as evaluate {}");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> CreateStep(const StepConfig& config) {
  auto step = Make(config);
  if (step.ok() || config.kind_case() == StepConfig::KIND_NOT_SET) return step;
  const auto* kind = StepConfig::descriptor()->FindFieldByNumber(config.kind_case());
  return PrependField(step.status(), kind->name());
}

}  // namespace lowbit
