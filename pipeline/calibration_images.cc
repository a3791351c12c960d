#include "pipeline/calibration_images.h"

#include <ATen/ops/cat.h>

#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/interrupt.h"
#include "base/status_macros.h"
#include "data/loader.h"
#include "evaluation/batch_tensor.h"
#include "model/torch_boundary.h"

namespace lowbit {

absl::Status PlanTrainingImages(absl::string_view field, int64_t count, PlanState& plan) {
  LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, plan.data->Get(Split::kTrain));
  LOWBIT_RETURN_IF_ERROR(CheckFits(plan.model.graph, *train));
  if (count <= train->size()) return absl::OkStatus();
  return FieldError(field, absl::StrCat("there are ", train->size(), " training images, got ", count));
}

absl::Status CheckFolded(const Graph& graph) {
  for (const Layer& layer : graph.layers()) {
    if (!std::holds_alternative<BatchNorm>(layer.op)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the batch norm \"", layer.name, "\" is not folded; put a fold step before quantize"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CalibrationImages> DrawCalibrationImages(int64_t num_images, int batch_size, const RunContext& context) {
  LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, context.data->Get(Split::kTrain));
  return CalibrationImages{DrawImages(train->size(), num_images, context.seed, kCalibrationImages), batch_size};
}

absl::Status LoadCalibrationImages(const CalibrationImages& images, int64_t num_images, DataSource* data,
                                   const std::function<absl::Status(const at::Tensor& batch)>& on_batch) {
  LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, data->Get(Split::kTrain));
  LoaderOptions options;
  options.order.assign(images.indices.begin(), images.indices.begin() + num_images);
  options.batch_size = images.batch_size;
  options.normalization = data->normalization();
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(train, std::move(options)));
  while (true) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
    if (!batch.has_value()) return absl::OkStatus();
    LOWBIT_RETURN_IF_ERROR(CatchTorch([&] { return on_batch(ImagesTensor(*batch)); }));
  }
}

absl::StatusOr<at::Tensor> LoadCalibrationImages(int64_t num_images, const RunContext& context) {
  constexpr int kBatch = 256;
  LOWBIT_ASSIGN_OR_RETURN(const CalibrationImages images, DrawCalibrationImages(num_images, kBatch, context));
  std::vector<at::Tensor> batches;
  LOWBIT_RETURN_IF_ERROR(LoadCalibrationImages(images, num_images, context.data, [&](const at::Tensor& batch) {
    batches.push_back(batch.clone());
    return absl::OkStatus();
  }));
  return CatchTorch([&] { return at::cat(batches, 0); });
}

void NoteSeen(const std::vector<int64_t>& images, RunState& state) {
  state.seen_images.insert(state.seen_images.end(), images.begin(), images.end());
}

}  // namespace lowbit
