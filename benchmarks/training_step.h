#ifndef LOWBIT_BENCHMARKS_TRAINING_STEP_H_
#define LOWBIT_BENCHMARKS_TRAINING_STEP_H_

#include <ATen/core/Tensor.h>

#include <memory>

#include "model/executor.h"
#include "model/parameters.h"

namespace lowbit {

// One step of training ResNet-20: forward pass, cross entropy, backward pass, and SGD with Nesterov momentum 0.9,
// weight decay 5e-4 and a learning rate of 0.1.
class TrainingStep {
 public:
  virtual ~TrainingStep() = default;
  // Returns the loss before the step.
  virtual double Run(const at::Tensor& images, const at::Tensor& labels) = 0;
  // Copies.
  virtual ParameterMap parameters() const = 0;
};

// As the trainer does it: Executor and Optimizer.
// `options.training` is on in any case.
std::unique_ptr<TrainingStep> MakeExecutorStep(const ParameterMap& initial, ExecutorOptions options = {});

// As one writes it with LibTorch: torch::nn modules and torch::optim::SGD.
std::unique_ptr<TrainingStep> MakeModuleStep(const ParameterMap& initial, at::MemoryFormat memory_order);

}  // namespace lowbit

#endif  // LOWBIT_BENCHMARKS_TRAINING_STEP_H_
