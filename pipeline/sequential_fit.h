#ifndef LOWBIT_PIPELINE_SEQUENTIAL_FIT_H_
#define LOWBIT_PIPELINE_SEQUENTIAL_FIT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "pipeline/data_source.h"
#include "pipeline/step.h"
#include "quant/layer_regression.h"
#include "quant/quantized_model.h"
#include "quant/twin_activations.h"

namespace lowbit {

// Which tensors a layer is fitted to.
struct FitTarget {
  int layer;  // has the weight
  // The addition whose sum it is fitted to, less its other summand; -1: to its own output.
  int add = -1;
  int other_input = 0;  // of the addition

  // The last layer that has to be run.
  int last() const { return add >= 0 ? add : layer; }
};

// The target of layer `layer`: with `correct_sums` the sum that its output becomes part of, if an addition is all that
// reads that output and the other summand is final, that is, no layer of `pending` is needed for it.
FitTarget ChooseTarget(const Graph& graph, int layer, const std::set<int>& pending, bool correct_sums);

// Runs calibration images through a float network and through the quantized one as far as it is quantized, and gathers
// what a layer reads in the latter and what it should put out. Layers must come in the graph's order.
class SequentialFitter {
 public:
  // Reads the first `num_images` of the images. Errors of the data come out.
  static absl::StatusOr<SequentialFitter> Create(const Model& model, const CalibrationImages& images,
                                                 int64_t num_images, DataSource* data);

  // `quantized`: has the final weights of all layers before target.layer, and the activations of the whole network.
  absl::StatusOr<LayerRegression> Regress(const FitTarget& target, const QuantizedModel& quantized);

 private:
  SequentialFitter(const Model& model, std::vector<at::Tensor> batches)
      : model_(model), twins_(model, std::move(batches)) {}

  Model model_;
  TwinActivations twins_;
};

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_SEQUENTIAL_FIT_H_
