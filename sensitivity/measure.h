#ifndef LOWBIT_SENSITIVITY_MEASURE_H_
#define LOWBIT_SENSITIVITY_MEASURE_H_

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "quant/input_statistics.h"
#include "quant/quantizer.h"
#include "quant/statistics.h"
#include "sensitivity/report.h"

namespace lowbit {

struct SensitivityOptions {
  std::shared_ptr<const Quantizer> weights;      // null: weights stay float
  std::shared_ptr<const Quantizer> activations;  // null: activations stay float. One of the two is there.
  std::vector<int> bits;                         // descending, each once
  std::vector<int> layers;                       // convolutions and linear layers, ascending; at least one
};

// Measures what quantizing one layer alone does to a network:
//
//   LOWBIT_ASSIGN_OR_RETURN(auto measure, SensitivityMeasure::Create(model, statistics, options));
//   LOWBIT_RETURN_IF_ERROR(measure->Observe(images, on_experiment));  // for each batch
//   LOWBIT_ASSIGN_OR_RETURN(SensitivityReport report, measure->Finish());
//
// For every layer and width there are up to three experiments: the weight quantized, the tensor that it reads quantized
// (so all who read it see the quantized values, as the quantize step has it; one experiment serves all of them), both.
// An experiment runs the network only from the nearest place before the layer at which it can be cut
// (model/passes/segment.h). What is in memory at once are some of one batch's tensors.
class SensitivityMeasure {
 public:
  // Quantizes every weight and fits every activation at every width. `statistics`, by layer name, has what the
  // activations' quantizer asks for, of every tensor that the layers read; null without one. `inputs` likewise for the
  // weights' quantizer, of what each layer reads. The network's output must be [N, classes]. Errors of the quantizers.
  static absl::StatusOr<std::unique_ptr<SensitivityMeasure>> Create(
      const Model& model, const std::map<std::string, TensorStatistics>* statistics,
      const std::map<std::string, InputStatistics>* inputs, const SensitivityOptions& options);
  ~SensitivityMeasure();

  // How many there are for each batch.
  int64_t experiments() const;

  // Does all experiments on these images, [N, C, H, W] float32; `on_experiment` is called after each one and may end it
  // all with an error. InvalidArgument if the network's answers are NaN or infinite.
  absl::Status Observe(const at::Tensor& images, const std::function<absl::Status()>& on_experiment);

  // What was found. There must have been an image.
  absl::StatusOr<SensitivityReport> Finish();

 private:
  class Impl;
  explicit SensitivityMeasure(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit

#endif  // LOWBIT_SENSITIVITY_MEASURE_H_
