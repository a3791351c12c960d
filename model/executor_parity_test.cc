// The whole ResNet-20 against the same network of LibTorch's modules.

#include <torch/torch.h>

#include <string>

#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/module_resnet20.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

// A network whose batch norms are not the identity.
ModuleResnet20 RandomNetwork(Shortcut option) {
  torch::manual_seed(1);
  ModuleResnet20 network(option);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : network.named_parameters()) {
    if (parameter.value().dim() == 1) parameter.value().add_(torch::randn_like(parameter.value()), 0.2);
  }
  for (auto& buffer : network.named_buffers()) {
    if (buffer.value().dim() == 1) buffer.value().add_(torch::rand_like(buffer.value()), 0.5);
  }
  return network;
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
  ModuleResnet20 network = RandomNetwork(GetParam());
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
    ModuleResnet20 network = RandomNetwork(GetParam());
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
