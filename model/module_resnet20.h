#ifndef LOWBIT_MODEL_MODULE_RESNET20_H_
#define LOWBIT_MODEL_MODULE_RESNET20_H_

#include <torch/torch.h>

#include <string>

#include "model/parameters.h"
#include "model/resnet.h"

// ResNet-20 written as anybody would with LibTorch's modules: what the Executor is held against, for its results by a
// test and for its speed by a benchmark.

namespace lowbit {

inline torch::nn::Conv2d ModuleConv3x3(int64_t in, int64_t out, int64_t stride) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).stride(stride).padding(1).bias(false));
}

struct ModuleBlockImpl : torch::nn::Module {
  ModuleBlockImpl(int64_t in, int64_t out, int64_t stride, Shortcut option)
      : pad((out - in) / 2),
        stride(stride),
        conv1(ModuleConv3x3(in, out, stride)),
        conv2(ModuleConv3x3(out, out, 1)),
        bn1(out),
        bn2(out) {
    register_module("conv1", conv1);
    register_module("bn1", bn1);
    register_module("conv2", conv2);
    register_module("bn2", bn2);
    if (stride == 1 || option == Shortcut::kOptionA) return;
    shortcut->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 1).stride(stride).bias(false)));
    shortcut->push_back(torch::nn::BatchNorm2d(out));
    register_module("shortcut", shortcut);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    const torch::Tensor y = bn2(conv2(torch::relu(bn1(conv1(x)))));
    return torch::relu(y + (stride == 1 ? x : shortcut->is_empty() ? OptionA(x) : shortcut->forward(x)));
  }

  torch::Tensor OptionA(const torch::Tensor& x) const {
    using torch::indexing::Slice;
    const torch::Tensor smaller =
        x.index({Slice(), Slice(), Slice(0, torch::indexing::None, 2), Slice(0, torch::indexing::None, 2)});
    return torch::nn::functional::pad(smaller, torch::nn::functional::PadFuncOptions({0, 0, 0, 0, pad, pad}));
  }

  int64_t pad, stride;
  torch::nn::Conv2d conv1, conv2;
  torch::nn::BatchNorm2d bn1, bn2;
  torch::nn::Sequential shortcut;
};
TORCH_MODULE(ModuleBlock);

// Its state dict has the names of BuildResnetCifar's layers.
struct ModuleResnet20 : torch::nn::Module {
  explicit ModuleResnet20(Shortcut option) : conv1(ModuleConv3x3(3, 16, 1)), bn1(16), linear(64, 10) {
    register_module("conv1", conv1);
    register_module("bn1", bn1);
    int64_t in = 16;
    for (int stage = 1; stage <= 3; ++stage) {
      const int64_t out = 8 << stage;
      for (int block = 0; block < 3; ++block, in = out) {
        stages[stage - 1]->push_back(ModuleBlock(in, out, /*stride=*/in == out ? 1 : 2, option));
      }
      register_module("layer" + std::to_string(stage), stages[stage - 1]);
    }
    register_module("linear", linear);
  }

  torch::Tensor forward(torch::Tensor x) {
    x = torch::relu(bn1(conv1(x)));
    for (torch::nn::Sequential& stage : stages) x = stage->forward(x);
    return linear(torch::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
  }

  torch::nn::Conv2d conv1;
  torch::nn::BatchNorm2d bn1;
  torch::nn::Sequential stages[3];
  torch::nn::Linear linear;
};

// Copies of its parameters and running statistics.
inline ParameterMap StateDict(const ModuleResnet20& network) {
  ParameterMap parameters;
  for (const auto& parameter : network.named_parameters()) parameters[parameter.key()] = parameter.value();
  for (const auto& buffer : network.named_buffers()) {
    if (buffer.value().dim() == 1) parameters[buffer.key()] = buffer.value();  // Not num_batches_tracked.
  }
  return CloneParameters(parameters);
}

// The opposite.
inline void LoadStateDict(const ParameterMap& parameters, ModuleResnet20* network) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : network->named_parameters()) parameter.value().copy_(parameters.at(parameter.key()));
  for (auto& buffer : network->named_buffers()) {
    if (buffer.value().dim() == 1) buffer.value().copy_(parameters.at(buffer.key()));
  }
}

}  // namespace lowbit

#endif  // LOWBIT_MODEL_MODULE_RESNET20_H_
