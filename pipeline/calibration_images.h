#ifndef LOWBIT_PIPELINE_CALIBRATION_IMAGES_H_
#define LOWBIT_PIPELINE_CALIBRATION_IMAGES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/data_source.h"
#include "pipeline/step.h"

namespace lowbit {

// For a step's Plan, where its field num_images says how many images it needs at once: that there are as many training
// images, and that they fit the network.
absl::Status PlanCalibrationImages(int64_t num_images, PlanState& plan);

// The first `num_images` of the images that calibrate draws, normalised: float [num_images, C, H, W].
absl::StatusOr<at::Tensor> LoadCalibrationImages(int64_t num_images, const RunContext& context);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_CALIBRATION_IMAGES_H_
