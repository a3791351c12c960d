#ifndef LOWBIT_QUANT_TWIN_ACTIVATIONS_H_
#define LOWBIT_QUANT_TWIN_ACTIVATIONS_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/executor.h"
#include "model/graph.h"
#include "model/parameters.h"
#include "quant/activation_cache.h"
#include "quant/fake_quant_model.h"
#include "quant/quantized_model.h"

namespace lowbit {

// Those layers of a quantized network that a segment of it has (model/passes/segment.h), ready to be run:
//
//   part.executor.Forward(x, &part.hook)
struct QuantizedSegment {
  Executor executor;
  FakeQuantHook hook;

  // What comes in is what the layer of the input's name has put out in the quantized network, so it is quantized
  // already; unless it is the network's own input.
  static absl::StatusOr<QuantizedSegment> Create(const QuantizedModel& quantized, const Graph& segment);
};

// The overlay of the layers of `segment` alone, with it as the graph.
QuantizedModel PartOfQuantizedModel(const QuantizedModel& quantized, const Graph& segment);

// Calibration images on their way through a float network and through the quantized one, held at one place that
// everything goes through (a cut, model/passes/segment.h). Methods that go through a network from front to back run
// images from there only, so that all layers together cost a few passes, and memory for two tensors of all images.
class TwinActivations {
 public:
  // `batches`: normalised images, [N, C, H, W] each, which are run one batch at a time. What comes of them is held in
  // `cache`, if there is one, which must outlive this.
  TwinActivations(const Model& model, std::vector<at::Tensor> batches, ActivationCache* cache = nullptr)
      : model_(model), cache_(cache), float_(std::move(batches)), quantized_(float_) {}

  // Holds the images at layer `cut`, a cut at or after the present one, from now on. The layers before it must be final
  // in `quantized`.
  absl::Status AdvanceTo(int cut, const QuantizedModel& quantized);

  int cut() const { return cut_; }
  int64_t batches() const { return static_cast<int64_t>(float_.size()); }

  // What layer cut() puts out, in the float network and in the quantized one.
  const std::vector<at::Tensor>& in_float() const { return float_; }
  const std::vector<at::Tensor>& in_quantized() const { return quantized_; }

 private:
  Model model_;
  ActivationCache* cache_;
  int cut_ = 0;
  std::vector<at::Tensor> float_, quantized_;  // by batch
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_TWIN_ACTIVATIONS_H_
