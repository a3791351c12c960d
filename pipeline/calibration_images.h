#ifndef LOWBIT_PIPELINE_CALIBRATION_IMAGES_H_
#define LOWBIT_PIPELINE_CALIBRATION_IMAGES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "pipeline/data_source.h"
#include "pipeline/step.h"

namespace lowbit {

// For a step's Plan, where its field `field` says how many training images it needs: that there are as many, and that
// they fit the network.
absl::Status PlanTrainingImages(absl::string_view field, int64_t count, PlanState& plan);

// For the Plan of a step that learns: that no batch norm is left, whose running statistics would be learned too.
absl::Status CheckFolded(const Graph& graph);

// The images that a calibrate step draws, in its order; fewer of them are the first of more.
absl::StatusOr<CalibrationImages> DrawCalibrationImages(int64_t num_images, int batch_size, const RunContext& context);

// Reads the first `num_images` of the images in batches, normalised, and calls `on_batch` with one after the other:
// float [N, C, H, W], whose memory is the next one's after the call. Errors of the data, of `on_batch` and of
// CheckInterrupt() end it and come out, and so do LibTorch's exceptions in `on_batch`.
absl::Status LoadCalibrationImages(const CalibrationImages& images, int64_t num_images, DataSource* data,
                                   const std::function<absl::Status(const at::Tensor& batch)>& on_batch);

// The first `num_images` of the images that calibrate draws, all at once: float [num_images, C, H, W].
absl::StatusOr<at::Tensor> LoadCalibrationImages(int64_t num_images, const RunContext& context);

// For a step that has fitted something to these training images: adds them to state.seen_images.
void NoteSeen(const std::vector<int64_t>& images, RunState& state);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_CALIBRATION_IMAGES_H_
