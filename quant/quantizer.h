#ifndef LOWBIT_QUANT_QUANTIZER_H_
#define LOWBIT_QUANT_QUANTIZER_H_

#include <ATen/core/Tensor.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/graph.h"
#include "quant/input_statistics.h"
#include "quant/quant_params.h"
#include "quant/statistics.h"

namespace lowbit {

// What a quantizer is to decide on.
enum class Role {
  kWeight,      // the weight of a Conv2d or Linear layer
  kActivation,  // the tensor that a layer of any kind puts out
};

// A weight in integers.
struct QuantizedTensor {
  QuantParams params;
  at::Tensor codes;  // int32, of the weight's shape, in [params.qmin(), params.qmax()]
};

// What somebody must know of what a layer reads to decide its weight.
struct WeightStatsRequest {
  bool moments = false;  // InputStatistics

  void Merge(const WeightStatsRequest& other) { moments = moments || other.moments; }
  bool empty() const { return !moments; }
};

struct WeightView {
  const Layer& layer;
  const at::Tensor& weight;  // float32, contiguous, [O, I / groups, kernel h, kernel w] or [O, I]
  int bits;
  // Over the calibration images; there if weight_stats_request() asked for moments, else perhaps null.
  const InputStatistics* input = nullptr;
};

struct ActivationView {
  const Layer& producer;               // the layer that puts the tensor out
  const TensorStatistics& statistics;  // over the calibration images; has what stats_request() asked for
  int bits;
};

// A method of post-training quantization that decides one tensor at a time: the interface of the plugins in
// quantizers/. (A method that learns over several layers together is a pipeline step.)
//
// Quantizers are immutable, deterministic and safe to use from several threads. They are made by name through
// quantizer_registry.h. `bits` is no option of theirs: it stands beside the name in a rule, because every method needs
// it and every search over bit widths sets it.
class Quantizer {
 public:
  virtual ~Quantizer();

  // What it must know of the activations that it will fit, whatever the number of bits. By default nothing.
  virtual StatsRequest stats_request() const;

  // What it must know of what a layer reads to quantize its weight, whatever the number of bits. By default nothing.
  virtual WeightStatsRequest weight_stats_request() const;

  // Whether it can decide the weight (the output, for kActivation) of this layer at this width. Asked for every layer
  // that a rule gives it, before any work is done. FieldError("bits", ...) if the width is at fault, else
  // FieldError("name", ...); the message says what was got and what is possible.
  virtual absl::Status Supports(const Layer& layer, Role role, int bits) const = 0;

  // Whether every weight gets the nearest code of the grid that comes back with it. Where not, new scales would undo
  // what was chosen. By default yes.
  virtual bool rounds_to_nearest() const;

  // Quantizes a weight. InvalidArgument naming the layer's weight if it holds NaN or infinities or does not have the
  // layer's shape, if no image was observed of which weight_stats_request() wants to know, and for everything that
  // Supports() refuses. Never changes view.weight.
  absl::StatusOr<QuantizedTensor> QuantizeWeight(const WeightView& view) const;

  // Chooses the parameters (one scale, one zero point) of an activation. InvalidArgument if no image was observed, and
  // for everything that Supports() refuses.
  absl::StatusOr<QuantParams> FitActivation(const ActivationView& view) const;

  // The name that it was registered under; "" for one that was not made by the registry.
  const std::string& name() const { return name_; }

 private:
  // The method itself. The functions above have checked the input and check what comes back: an invalid result is an
  // Internal error that names the plugin. A plugin that supports only one role overrides only one of the two.
  virtual absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const;
  virtual absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const;

  friend class QuantizerRegistration;
  std::string name_;
};

// What a method answers in Supports() that takes the weight of every layer that has one, the output of every layer, and
// every width.
absl::Status SupportsEverything(const Layer& layer, Role role, int bits);

// The same of a method for weights alone; FieldError("name", ...) for the output of a layer.
absl::Status SupportsWeightsOnly(const Layer& layer, Role role, int bits);

// "weight", "activation".
absl::string_view RoleName(Role role);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_QUANTIZER_H_
