#ifndef LOWBIT_PIPELINE_STEPS_STEPS_H_
#define LOWBIT_PIPELINE_STEPS_STEPS_H_

// The makers of all steps, one file each; pipeline/create_step.cc calls them. Configs are effective ones. Errors name a
// field of the step's own message.

#include <memory>

#include "absl/status/statusor.h"
#include "pipeline/config.pb.h"
#include "pipeline/step.h"

namespace lowbit {

absl::StatusOr<std::unique_ptr<Step>> MakeSummaryStep(const SummaryStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeTrainStep(const TrainConfig& config);
absl::StatusOr<std::unique_ptr<Step>> MakeFoldStep(const FoldStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeCalibrateStep(const CalibrateStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeQuantizeStep(const QuantizeStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeEvaluateStep(const EvaluateStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeBenchmarkStep(const BenchmarkStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeSaveStep(const SaveStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeTorchInt8Step(const TorchInt8Step& config);
absl::StatusOr<std::unique_ptr<Step>> MakeEqualizeStep(const EqualizeStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeSplitShortcutsStep(const SplitShortcutsStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeBiasCorrectionStep(const BiasCorrectionStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeLapqStep(const LapqStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeReestimateBatchNormStep(const ReestimateBatchNormStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeSensitivityStep(const SensitivityStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeMixedPrecisionStep(const MixedPrecisionStep& config);
absl::StatusOr<std::unique_ptr<Step>> MakeReconstructStep(const ReconstructConfig& config);
absl::StatusOr<std::unique_ptr<Step>> MakeDistillStep(const DistillConfig& config);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_STEPS_STEPS_H_
