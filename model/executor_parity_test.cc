// The whole ResNet-20 against the same network written as anybody would with LibTorch's modules.

#include <torch/torch.h>

#include <string>

#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

namespace nn = torch::nn;

nn::Conv2d Conv3x3(int64_t in, int64_t out, int64_t stride) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1).bias(false));
}

struct BlockImpl : nn::Module {
  BlockImpl(int64_t in, int64_t out, int64_t stride, Shortcut option)
      : pad((out - in) / 2),
        stride(stride),
        conv1(Conv3x3(in, out, stride)),
        conv2(Conv3x3(out, out, 1)),
        bn1(out),
        bn2(out) {
    register_module("conv1", conv1);
    register_module("bn1", bn1);
    register_module("conv2", conv2);
    register_module("bn2", bn2);
    if (stride == 1 || option == Shortcut::kOptionA) return;
    shortcut->push_back(nn::Conv2d(nn::Conv2dOptions(in, out, 1).stride(stride).bias(false)));
    shortcut->push_back(nn::BatchNorm2d(out));
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
    const torch::Tensor zeros = torch::zeros({x.size(0), pad, smaller.size(2), smaller.size(3)});
    return torch::cat({zeros, smaller, zeros}, 1);
  }

  int64_t pad, stride;
  nn::Conv2d conv1, conv2;
  nn::BatchNorm2d bn1, bn2;
  nn::Sequential shortcut;
};
TORCH_MODULE(Block);

// Its state dict has the names of BuildResnetCifar's layers.
struct Resnet20 : nn::Module {
  explicit Resnet20(Shortcut option) : conv1(Conv3x3(3, 16, 1)), bn1(16), linear(64, 10) {
    register_module("conv1", conv1);
    register_module("bn1", bn1);
    int64_t in = 16;
    for (int stage = 1; stage <= 3; ++stage) {
      const int64_t out = 8 << stage;
      for (int block = 0; block < 3; ++block, in = out) {
        stages[stage - 1]->push_back(Block(in, out, /*stride=*/in == out ? 1 : 2, option));
      }
      register_module("layer" + std::to_string(stage), stages[stage - 1]);
    }
    register_module("linear", linear);
  }

  torch::Tensor forward(torch::Tensor x) {
    x = torch::relu(bn1(conv1(x)));
    for (nn::Sequential& stage : stages) x = stage->forward(x);
    return linear(torch::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
  }

  nn::Conv2d conv1;
  nn::BatchNorm2d bn1;
  nn::Sequential stages[3];
  nn::Linear linear;
};

// A network whose batch norms are not the identity.
Resnet20 RandomNetwork(Shortcut option) {
  torch::manual_seed(1);
  Resnet20 network(option);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : network.named_parameters()) {
    if (parameter.value().dim() == 1) parameter.value().add_(torch::randn_like(parameter.value()), 0.2);
  }
  for (auto& buffer : network.named_buffers()) {
    if (buffer.value().dim() == 1) buffer.value().add_(torch::rand_like(buffer.value()), 0.5);
  }
  return network;
}

ParameterMap StateDict(const Resnet20& network) {
  ParameterMap parameters;
  for (const auto& parameter : network.named_parameters()) parameters[parameter.key()] = parameter.value();
  for (const auto& buffer : network.named_buffers()) {
    if (buffer.value().dim() == 1) parameters[buffer.key()] = buffer.value();  // Not num_batches_tracked.
  }
  return CloneParameters(parameters);
}

void ExpectClose(const torch::Tensor& got, const torch::Tensor& wanted, double tolerance) {
  ASSERT_EQ(got.sizes(), wanted.sizes());
  EXPECT_LE((got - wanted).abs().max().item<double>(), tolerance * (1 + wanted.abs().max().item<double>()));
}

class ExecutorParityTest : public testing::TestWithParam<Shortcut> {
 protected:
  Executor MakeExecutor(const ParameterMap& parameters, ExecutorOptions options) const {
    const auto graph = BuildResnetCifar({20, GetParam()});
    EXPECT_TRUE(graph.ok()) << graph.status();
    auto executor = Executor::Create(*graph, parameters, options);
    EXPECT_TRUE(executor.ok()) << executor.status();
    return *std::move(executor);
  }
};

TEST_P(ExecutorParityTest, Inference) {
  Resnet20 network = RandomNetwork(GetParam());
  network.eval();
  for (const int64_t batch : {1, 4}) {
    const torch::Tensor images = torch::randn({batch, 3, 32, 32});
    const torch::Tensor wanted = network.forward(images).detach();
    EXPECT_GT(wanted.abs().max().item<double>(), 0.01);
    for (const bool channels_last : {false, true}) {
      const auto logits = MakeExecutor(StateDict(network), {/*training=*/false, channels_last}).Forward(images);
      ASSERT_TRUE(logits.ok()) << logits.status();
      ExpectClose(*logits, wanted, 1e-4);
    }
  }
}

TEST_P(ExecutorParityTest, Training) {
  for (const bool channels_last : {false, true}) {
    Resnet20 network = RandomNetwork(GetParam());
    ParameterMap parameters = StateDict(network);
    for (auto& [name, value] : parameters) value.requires_grad_(!IsRunningStatistic(name));
    network.train();
    const torch::Tensor images = torch::randn({8, 3, 32, 32});
    const torch::Tensor labels = torch::arange(8);
    // In the same memory order. Another one sums in another order, which turns a relu near zero on or off now and then:
    // the gradients then differ by far more than rounding.
    const torch::Tensor wanted = network.forward(
        images.contiguous(channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous));
    const auto logits = MakeExecutor(parameters, {/*training=*/true, channels_last}).Forward(images);
    ASSERT_TRUE(logits.ok()) << logits.status();
    ExpectClose(logits->detach(), wanted.detach(), 1e-4);
    torch::cross_entropy_loss(wanted, labels).backward();
    torch::cross_entropy_loss(*logits, labels).backward();
    for (const auto& parameter : network.named_parameters()) {
      SCOPED_TRACE(parameter.key());
      ASSERT_TRUE(parameters.at(parameter.key()).grad().defined());
      ExpectClose(parameters.at(parameter.key()).grad(), parameter.value().grad(), 1e-5);
    }
    const ParameterMap after = StateDict(network);
    for (const auto& [name, value] : parameters) {
      if (IsRunningStatistic(name)) ExpectClose(value, after.at(name), 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shortcuts, ExecutorParityTest, testing::Values(Shortcut::kOptionA, Shortcut::kOptionB),
                         [](const auto& info) { return info.param == Shortcut::kOptionA ? "OptionA" : "OptionB"; });

}  // namespace
}  // namespace lowbit
