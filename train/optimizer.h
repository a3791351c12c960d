#ifndef LOWBIT_TRAIN_OPTIMIZER_H_
#define LOWBIT_TRAIN_OPTIMIZER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/parameters.h"
#include "train/train_config.pb.h"

namespace lowbit {

// SGD with momentum, or Adam, as the config names, over the parameters that take part in training.
// Deterministic: the same gradients in the same order give the same weights.
class Optimizer {
 public:
  // `parameters` are leaf tensors, shared and updated in place; one without a gradient at a step is left as it is.
  Optimizer(const TrainConfig& config, ParameterMap parameters);

  // One update from the gradients that the last backward pass left, which are then cleared.
  void Step(double learning_rate);

  // The slots ("layer1.0.conv1.weight/momentum", ...), for a checkpoint; shared, not copied.
  ParameterMap slots() const;
  // Steps taken, which Adam's bias correction needs.
  int64_t steps() const { return steps_; }
  // Takes both back, copying the slots into place. NotFound or InvalidArgument if a slot is missing, unknown or of
  // another shape.
  absl::Status Restore(const ParameterMap& slots, int64_t steps);

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter;
    double weight_decay;
    at::Tensor first;   // SGD: momentum. Adam: mean of the gradient.
    at::Tensor second;  // Adam: mean of its square.
  };
  void SgdStep(Slot& slot, const at::Tensor& gradient, double learning_rate) const;
  void AdamStep(Slot& slot, const at::Tensor& gradient, double learning_rate) const;

  TrainConfig config_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
};

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_OPTIMIZER_H_
