#ifndef LOWBIT_PIPELINE_SEQUENTIAL_FIT_H_
#define LOWBIT_PIPELINE_SEQUENTIAL_FIT_H_

#include <cstdint>
#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "pipeline/data_source.h"
#include "pipeline/step.h"
#include "quant/layer_regression.h"
#include "quant/quantized_model.h"

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

// Runs the calibration images, the first so many of them, through the float network and through the quantized one as
// far as it is quantized, up to what the target takes; gathers what layer target.layer reads in the quantized network and
// what it should put out. Interrupts and errors of the data come out.
absl::StatusOr<LayerRegression> RegressLayer(const FitTarget& target, const Model& model,
                                             const QuantizedModel& quantized, const CalibrationImages& images,
                                             int64_t num_images, DataSource* data);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_SEQUENTIAL_FIT_H_
