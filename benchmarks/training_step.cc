#include "benchmarks/training_step.h"

#include <torch/torch.h>

#include <utility>

#include "base/check.h"
#include "model/executor.h"
#include "model/module_resnet20.h"
#include "model/resnet.h"
#include "train/optimizer.h"

namespace lowbit {
namespace {

constexpr double kLearningRate = 0.1;
constexpr double kMomentum = 0.9;
constexpr double kWeightDecay = 5e-4;

TrainConfig Sgd() {
  TrainConfig config;
  config.mutable_sgd()->set_momentum(kMomentum);
  config.mutable_sgd()->set_nesterov(true);
  config.set_weight_decay(kWeightDecay);
  return config;
}

// The parameters that are learned, ready for autograd; they share the numbers.
ParameterMap Learned(const ParameterMap& parameters) {
  ParameterMap learned;
  for (const auto& [name, value] : parameters) {
    if (!IsRunningStatistic(name)) learned.emplace(name, value.set_requires_grad(true));
  }
  return learned;
}

Executor MakeExecutor(const ParameterMap& parameters, ExecutorOptions options) {
  options.training = true;
  auto executor = Executor::Create(*BuildResnetCifar({}), parameters, options);
  LOWBIT_CHECK(executor.ok(), executor.status().message());
  return *std::move(executor);
}

class ExecutorStep : public TrainingStep {
 public:
  ExecutorStep(const ParameterMap& initial, const ExecutorOptions& options)
      : parameters_(CloneParameters(initial)),
        optimizer_(Sgd(), Learned(parameters_)),
        executor_(MakeExecutor(parameters_, options)) {}

  double Run(const at::Tensor& images, const at::Tensor& labels) override {
    const auto logits = executor_.Forward(images);
    LOWBIT_CHECK(logits.ok(), logits.status().message());
    const at::Tensor loss = at::cross_entropy_loss(*logits, labels);
    loss.backward();
    optimizer_.Step(kLearningRate);
    return loss.item<double>();
  }

  ParameterMap parameters() const override { return CloneParameters(parameters_); }

 private:
  ParameterMap parameters_;
  Optimizer optimizer_;
  Executor executor_;
};

class ModuleStep : public TrainingStep {
 public:
  ModuleStep(const ParameterMap& initial, at::MemoryFormat memory_order)
      : memory_order_(memory_order), network_(Shortcut::kOptionA) {
    LoadStateDict(initial, &network_);
    for (torch::Tensor& parameter : network_.parameters()) {
      if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(memory_order));
    }
    network_.train();
    const auto options =
        torch::optim::SGDOptions(kLearningRate).momentum(kMomentum).weight_decay(kWeightDecay).nesterov(true);
    optimizer_ = std::make_unique<torch::optim::SGD>(network_.parameters(), options);
  }

  double Run(const at::Tensor& images, const at::Tensor& labels) override {
    optimizer_->zero_grad();
    const torch::Tensor loss =
        torch::nn::functional::cross_entropy(network_.forward(images.contiguous(memory_order_)), labels);
    loss.backward();
    optimizer_->step();
    return loss.item<double>();
  }

  ParameterMap parameters() const override { return StateDict(network_); }

 private:
  const at::MemoryFormat memory_order_;
  ModuleResnet20 network_;
  std::unique_ptr<torch::optim::SGD> optimizer_;
};

}  // namespace

std::unique_ptr<TrainingStep> MakeExecutorStep(const ParameterMap& initial, ExecutorOptions options) {
  return std::make_unique<ExecutorStep>(initial, options);
}

std::unique_ptr<TrainingStep> MakeModuleStep(const ParameterMap& initial, at::MemoryFormat memory_order) {
  return std::make_unique<ModuleStep>(initial, memory_order);
}

}  // namespace lowbit
