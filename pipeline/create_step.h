#ifndef LOWBIT_PIPELINE_CREATE_STEP_H_
#define LOWBIT_PIPELINE_CREATE_STEP_H_

#include <memory>

#include "absl/status/statusor.h"
#include "pipeline/config.pb.h"
#include "pipeline/step.h"

namespace lowbit {

// The step that a config describes (an effective one: defaults are spelled out). Errors name the field in StepConfig:
// "fold.check_images".
absl::StatusOr<std::unique_ptr<Step>> CreateStep(const StepConfig& config);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_CREATE_STEP_H_
