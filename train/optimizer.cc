#include "train/optimizer.h"

#include <ATen/ops/sqrt.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace lowbit {
namespace {

absl::Status CopyState(const std::string& name, const ParameterMap& state, at::Tensor& into) {
  const auto found = state.find(name);
  if (found == state.end()) {
    return absl::NotFoundError(
        absl::StrCat("optimizer state \"", name, "\" is missing; was it saved by another optimizer?"));
  }
  if (found->second.sizes() != into.sizes()) {
    return absl::InvalidArgumentError(absl::StrCat("optimizer state \"", name, "\" has shape [",
                                                   absl::StrJoin(found->second.sizes(), ", "), "], wanted [",
                                                   absl::StrJoin(into.sizes(), ", "), "]"));
  }
  into.copy_(found->second);
  return absl::OkStatus();
}

}  // namespace

Optimizer::Optimizer(const TrainConfig& config, ParameterMap parameters) : config_(config) {
  for (auto& [name, parameter] : parameters) {
    // Weights of convolutions and linear layers have two dimensions or more; biases, scales and shifts have one.
    const bool decays = parameter.dim() > 1 || config.decay_bias_and_norm();
    Slot slot{name, parameter, decays ? config.weight_decay() : 0.0, at::zeros_like(parameter), {}};
    if (config.has_adam()) slot.second = at::zeros_like(parameter);
    slots_.push_back(std::move(slot));
  }
}

void Optimizer::Step(double learning_rate) {
  const c10::AutoGradMode no_gradients(false);
  ++steps_;
  for (Slot& slot : slots_) {
    at::Tensor& gradient = slot.parameter.mutable_grad();
    if (!gradient.defined()) continue;
    if (config_.has_adam()) {
      AdamStep(slot, gradient, learning_rate);
    } else {
      SgdStep(slot, gradient, learning_rate);
    }
    gradient.reset();
  }
}

// g += weight_decay * w;  first = momentum * first + g;  w -= learning_rate * (nesterov ? g + momentum * first : first)
void Optimizer::SgdStep(Slot& slot, const at::Tensor& gradient, double learning_rate) const {
  const SgdConfig& sgd = config_.sgd();
  at::Tensor g = gradient;
  if (slot.weight_decay != 0) g.add_(slot.parameter, slot.weight_decay);
  slot.first.mul_(sgd.momentum()).add_(g);
  if (sgd.nesterov()) {
    slot.parameter.add_(g.add_(slot.first, sgd.momentum()), -learning_rate);
  } else {
    slot.parameter.add_(slot.first, -learning_rate);
  }
}

// first = beta1 * first + (1 - beta1) * g;  second = beta2 * second + (1 - beta2) * g^2
// w -= learning_rate * (first / (1 - beta1^t)) / (sqrt(second / (1 - beta2^t)) + epsilon)
void Optimizer::AdamStep(Slot& slot, const at::Tensor& gradient, double learning_rate) const {
  const AdamConfig& adam = config_.adam();
  const double t = static_cast<double>(steps_);
  at::Tensor g = gradient;
  if (adam.decoupled_weight_decay()) {
    slot.parameter.mul_(1 - learning_rate * slot.weight_decay);
  } else if (slot.weight_decay != 0) {
    g.add_(slot.parameter, slot.weight_decay);
  }
  slot.first.mul_(adam.beta1()).add_(g, 1 - adam.beta1());
  slot.second.mul_(adam.beta2()).addcmul_(g, g, 1 - adam.beta2());
  const double correction1 = 1 - std::pow(adam.beta1(), t);
  const double correction2 = 1 - std::pow(adam.beta2(), t);
  const at::Tensor denominator = at::sqrt(slot.second).div_(std::sqrt(correction2)).add_(adam.epsilon());
  slot.parameter.addcdiv_(slot.first, denominator, -learning_rate / correction1);
}

ParameterMap Optimizer::slots() const {
  ParameterMap state;
  for (const Slot& slot : slots_) {
    state.emplace(absl::StrCat(slot.name, config_.has_adam() ? "/mean" : "/momentum"), slot.first);
    if (slot.second.defined()) state.emplace(absl::StrCat(slot.name, "/mean_square"), slot.second);
  }
  return state;
}

absl::Status Optimizer::Restore(const ParameterMap& slots, int64_t steps) {
  const ParameterMap mine = this->slots();
  for (const auto& [name, tensor] : mine) {
    at::Tensor target = tensor;
    LOWBIT_RETURN_IF_ERROR(CopyState(name, slots, target));
  }
  for (const auto& [name, tensor] : slots) {
    if (mine.count(name) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("optimizer state \"", name, "\" is not one that this optimizer keeps"));
    }
  }
  steps_ = steps;
  return absl::OkStatus();
}

}  // namespace lowbit
