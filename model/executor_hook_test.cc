#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

// What tests do in a hook, by function.
class Hook : public LayerHook {
 public:
  std::function<at::Tensor(int layer, int input_index, at::Tensor x)> on_input;
  std::function<at::Tensor(int layer, at::Tensor y)> on_output;

  at::Tensor OnInput(int layer, int input_index, at::Tensor x) override {
    return on_input ? on_input(layer, input_index, std::move(x)) : std::move(x);
  }
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    return on_output ? on_output(layer, std::move(y)) : std::move(y);
  }
};

// Layers of a graph in which each image [1, 2, 2] is doubled by `double`, read by `relu` and `add`, and summed.
enum { kInput, kDouble, kRelu, kAdd, kFlatten, kSum };

Executor MakeExecutor(std::vector<Layer> layers, ParameterMap parameters, ExecutorOptions options = {}) {
  const auto graph = Graph::Create(std::move(layers));
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto executor = Executor::Create(*graph, std::move(parameters), options);
  EXPECT_TRUE(executor.ok()) << executor.status();
  return *std::move(executor);
}

Executor Small(ExecutorOptions options = {}) {
  return MakeExecutor({{"input", Input{1, 2, 2}, {}},
                       {"double", Conv2d{1, 1}, {0}},
                       {"relu", Relu{}, {1}},
                       {"add", Add{}, {1, 2}},
                       {"flatten", Flatten{}, {3}},
                       {"sum", Linear{4, 1, false}, {4}}},
                      {{"double.weight", at::full({1, 1, 1, 1}, 2.0f)}, {"sum.weight", at::ones({1, 4})}}, options);
}

at::Tensor Images() { return at::tensor({1.0f, -2.0f, 3.0f, 4.0f}).view({1, 1, 2, 2}); }

// Doubled: 2, -4, 6, 8; their relu: 2, 0, 6, 8; sum: 12 + 16.
constexpr float kPlain = 28;

float SumOf(const Executor& executor, LayerHook* hook) {
  const auto result = executor.Forward(Images(), hook);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->item<float>() : 0;
}

std::string Refusal(const Executor& executor, Hook& hook) {
  const absl::Status status = executor.Forward(Images(), &hook).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(LayerHookTest, TheBaseClassChangesNothing) {
  LayerHook hook;
  EXPECT_EQ(SumOf(Small(), nullptr), kPlain);
  EXPECT_EQ(SumOf(Small(), &hook), kPlain);
}

TEST(LayerHookTest, SeesEveryTensorOnceInOrder) {
  Hook hook;
  std::vector<std::string> calls;
  hook.on_input = [&](int layer, int index, at::Tensor x) {
    calls.push_back("in " + std::to_string(layer) + "." + std::to_string(index) + ": " +
                    std::to_string(x.flatten()[1 % x.numel()].item<int>()));
    return x;
  };
  hook.on_output = [&](int layer, at::Tensor y) {
    calls.push_back("out " + std::to_string(layer) + ": " + std::to_string(y.flatten()[1 % y.numel()].item<int>()));
    return y;
  };
  SumOf(Small(), &hook);
  EXPECT_THAT(calls, ElementsAre("out 0: -2", "in 1.0: -2", "out 1: -4", "in 2.0: -4", "out 2: 0", "in 3.0: -4",
                                 "in 3.1: 0", "out 3: -4", "in 4.0: -4", "out 4: -4", "in 5.0: -4", "out 5: 28"));
}

TEST(LayerHookTest, WhatOnInputReturnsGoesToThatLayerOnly) {
  for (const bool training : {false, true}) {
    Hook hook;
    hook.on_input = [&](int layer, int, at::Tensor x) { return layer == kRelu ? x.add(1) : x; };
    // The relu sees 3, -3, 7, 9 and gives 19; the sum still reads 2, -4, 6, 8.
    EXPECT_EQ(SumOf(Small({training}), &hook), 19 + 12);
    hook.on_input = [&](int layer, int index, at::Tensor x) { return layer == kAdd && index == 0 ? x.mul(10) : x; };
    EXPECT_EQ(SumOf(Small({training}), &hook), 120 + 16);
    hook.on_input = [&](int layer, int index, at::Tensor x) { return layer == kAdd && index == 1 ? x.mul(10) : x; };
    EXPECT_EQ(SumOf(Small({training}), &hook), 12 + 160);
  }
}

TEST(LayerHookTest, WhatOnOutputReturnsGoesToEveryReader) {
  for (const bool training : {false, true}) {
    Hook hook;
    hook.on_output = [&](int layer, at::Tensor y) { return layer == kDouble ? y.add(1) : y; };
    // 3, -3, 7, 9 to both: 16 + 19.
    EXPECT_EQ(SumOf(Small({training}), &hook), 16 + 19);
    hook.on_output = [&](int layer, at::Tensor y) { return layer == kSum ? y.add(100) : y; };
    EXPECT_EQ(SumOf(Small({training}), &hook), kPlain + 100);
    hook.on_output = [&](int layer, at::Tensor y) { return layer == kInput ? y.mul(-1) : y; };
    EXPECT_EQ(SumOf(Small({training}), &hook), -12 + 4);
  }
}

// A tensor that two layers read is not the first one's to overwrite, whether the hook returns it or another.
TEST(LayerHookTest, OverwritingDoesNotReachOtherReaders) {
  Hook hook;
  at::Tensor at_relu, at_add;
  hook.on_input = [&](int layer, int index, at::Tensor x) {
    if (layer == kRelu) at_relu = x.clone();
    if (layer == kAdd && index == 0) at_add = x.clone();
    return x;
  };
  SumOf(Small(), &hook);
  EXPECT_TRUE(at::equal(at_relu, at_add));
  EXPECT_EQ(at_add.flatten()[1].item<float>(), -4);
}

// ---- Writing in place ----

TEST(LayerHookTest, OnOutputMayWriteInPlace) {
  Hook hook;
  hook.on_output = [&](int layer, at::Tensor y) {
    if (layer == kDouble || layer == kFlatten) y.add_(1);
    return y;
  };
  EXPECT_EQ(SumOf(Small(), &hook), 16 + 19 + 4);
}

TEST(LayerHookTest, WritingInPlaceDoesNotReachTheCallersImages) {
  for (const bool channels_last : {false, true}) {
    for (const Op& op : {Op(Relu{}), Op(Flatten{}), Op(Subsample{{1, 1}}), Op(GlobalAvgPool{})}) {
      SCOPED_TRACE(std::string(OpName(op)));
      const Executor executor =
          MakeExecutor({{"input", Input{1, 2, 2}, {}}, {"op", op, {0}}}, {}, {false, channels_last});
      const at::Tensor images =
          Images().contiguous(channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
      Hook hook;
      hook.on_output = [&](int, at::Tensor y) { return y.fill_(7); };
      const auto result = executor.Forward(images, &hook);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->max().item<float>(), 7);
      EXPECT_TRUE(at::equal(images, Images()));
    }
  }
}

// `first` and `second` are views of what `relu` gives, which `rest` reads after them.
TEST(LayerHookTest, WritingIntoAViewDoesNotReachTheOtherReaders) {
  const Executor executor = MakeExecutor({{"input", Input{1, 2, 2}, {}},
                                          {"relu", Relu{}, {0}},
                                          {"first", Subsample{{1, 1}}, {1}},
                                          {"second", Subsample{{1, 1}}, {1}},
                                          {"add", Add{}, {2, 3}},
                                          {"rest", Add{}, {4, 1}}},
                                         {});
  Hook hook;
  hook.on_output = [&](int layer, at::Tensor y) {
    if (layer == 2) y.fill_(100);
    if (layer == 3) y.fill_(1000);
    return y;
  };
  const auto result = executor.Forward(Images(), &hook);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(at::equal(result->flatten(), at::tensor({1101.0f, 1100.0f, 1103.0f, 1104.0f})));
}

TEST(LayerHookTest, ClonesKeepTheValues) {
  Hook hook;
  std::vector<at::Tensor> kept(6);
  hook.on_output = [&](int layer, at::Tensor y) {
    kept[static_cast<size_t>(layer)] = y.clone();
    return y;
  };
  SumOf(Small(), &hook);
  EXPECT_TRUE(at::equal(kept[kDouble].flatten(), at::tensor({2.0f, -4.0f, 6.0f, 8.0f})));
  EXPECT_TRUE(at::equal(kept[kRelu].flatten(), at::tensor({2.0f, 0.0f, 6.0f, 8.0f})));
  EXPECT_TRUE(at::equal(kept[kAdd].flatten(), at::tensor({4.0f, -4.0f, 12.0f, 16.0f})));
}

// Autograd needs the values that a hook put in while training, so the executor must not overwrite them.
TEST(LayerHookTest, TrainingKeepsWhatHooksReturn) {
  at::Tensor weight = at::full({1, 1, 1, 1}, 3.0f);
  weight.requires_grad_();
  const Executor executor =
      MakeExecutor({{"input", Input{1, 1, 1}, {}}, {"conv", Conv2d{1, 1}, {0}}, {"relu", Relu{}, {1}}},
                   {{"conv.weight", weight}}, {true});
  Hook hook;
  // The backward pass of exp needs its result, into which the relu could write.
  hook.on_output = [&](int layer, at::Tensor y) { return layer == 1 ? y.exp() : y; };
  const auto result = executor.Forward(at::ones({1, 1, 1, 1}), &hook);
  ASSERT_TRUE(result.ok()) << result.status();
  result->sum().backward();
  EXPECT_NEAR(weight.grad().item<double>(), std::exp(3.0), 1e-4);
}

// ---- Errors ----

TEST(LayerHookTest, RefusesOtherShapes) {
  Hook hook;
  hook.on_input = [&](int layer, int index, at::Tensor x) { return layer == kAdd && index == 1 ? x.flatten(1) : x; };
  EXPECT_EQ(Refusal(Small(), hook),
            "layer \"add\": the hook's OnInput returned [1, 4] for a tensor of shape [1, 1, 2, 2]");
  hook.on_input = nullptr;
  hook.on_output = [&](int layer, at::Tensor y) { return layer == kSum ? y.flatten() : y; };
  EXPECT_EQ(Refusal(Small(), hook), "layer \"sum\": the hook's OnOutput returned [1] for a tensor of shape [1, 1]");
  hook.on_output = [&](int layer, at::Tensor y) { return layer == kInput ? at::Tensor() : y; };
  EXPECT_EQ(Refusal(Small(), hook),
            "layer \"input\": the hook's OnOutput returned an undefined tensor for a tensor of shape [1, 1, 2, 2]");
}

TEST(LayerHookTest, ExceptionsEndForward) {
  Hook hook;
  hook.on_output = [&](int layer, at::Tensor y) {
    if (layer == kRelu) throw std::runtime_error("enough");
    return y;
  };
  EXPECT_EQ(Small().Forward(Images(), &hook).status(), absl::InternalError("enough"));
  hook.on_output = nullptr;
  hook.on_input = [&](int, int, at::Tensor x) -> at::Tensor { TORCH_CHECK(false, "bad ", x.dim()); };
  EXPECT_EQ(Small().Forward(Images(), &hook).status(), absl::InternalError("LibTorch: bad 4"));
}

}  // namespace
}  // namespace lowbit
