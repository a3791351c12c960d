#include "model/executor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/random.h"
#include "gtest/gtest.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

at::Tensor Random(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
  return x;
}

Graph Make(std::vector<Layer> layers) {
  auto graph = Graph::Create(std::move(layers));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

// As InitParameters, but no bias is 0 and no batch norm does nothing.
ParameterMap RandomParameters(const Graph& graph) {
  ParameterMap parameters = InitParameters(graph, 1);
  uint64_t seed = 100;
  for (auto& [name, value] : parameters) {
    if (value.dim() > 1) continue;
    const at::Tensor noise = Random(value.sizes(), ++seed).mul(0.3);
    value = name.find("running_var") == std::string::npos ? value + noise : (value + noise.abs());
  }
  return parameters;
}

Executor MakeExecutor(const Graph& graph, const ParameterMap& parameters, ExecutorOptions options = {}) {
  auto executor = Executor::Create(graph, parameters, options);
  EXPECT_TRUE(executor.ok()) << executor.status();
  return *std::move(executor);
}

at::Tensor Forward(const Executor& executor, const at::Tensor& images) {
  const auto result = executor.Forward(images);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : at::Tensor();
}

void ExpectClose(const at::Tensor& got, const at::Tensor& wanted, double tolerance) {
  ASSERT_TRUE(got.defined());
  ASSERT_EQ(got.sizes(), wanted.sizes());
  const double worst = (got.to(at::kDouble) - wanted.to(at::kDouble)).abs().max().item<double>();
  EXPECT_LE(worst, tolerance * (1 + wanted.abs().max().item<double>()));
}

// ---- Every operation against LibTorch in double precision ----

struct OpCase {
  std::string name;
  Op op;
  // From the image and the parameter of this name in double precision.
  std::function<at::Tensor(const at::Tensor& x, const std::function<at::Tensor(const char*)>& parameter)> wanted;
};

using Parameter = const std::function<at::Tensor(const char*)>&;

OpCase ConvCase(const std::string& name, const Conv2d& conv) {
  return {name, conv, [conv](const at::Tensor& x, Parameter p) {
            return at::conv2d(x, p("weight"), conv.bias ? p("bias") : at::Tensor(), conv.stride, conv.padding,
                              conv.dilation, conv.groups);
          }};
}

// All read an image [4, 9, 7].
std::vector<OpCase> OpCases() {
  std::vector<OpCase> cases = {ConvCase("pointwise", Conv2d{4, 6}),
                               ConvCase("bias", Conv2d{4, 6, {3, 2}, {1, 1}, {0, 0}, {1, 1}, 1, true}),
                               ConvCase("stride", Conv2d{4, 6, {3, 3}, {2, 3}}),
                               ConvCase("padding", Conv2d{4, 6, {3, 3}, {1, 1}, {2, 1}}),
                               ConvCase("dilation", Conv2d{4, 6, {3, 3}, {1, 1}, {0, 0}, {3, 2}}),
                               ConvCase("groups", Conv2d{4, 6, {3, 3}, {1, 1}, {0, 0}, {1, 1}, 2}),
                               ConvCase("depthwise", Conv2d{4, 4, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 4, true}),
                               ConvCase("all", Conv2d{4, 6, {3, 2}, {2, 1}, {1, 2}, {2, 3}, 2, true})};
  cases.push_back({"relu", Relu{}, [](const at::Tensor& x, Parameter) { return (x + x.abs()) / 2; }});
  cases.push_back({"batch_norm", BatchNorm{4, 0.25}, [](const at::Tensor& x, Parameter p) {
                     const auto each = [&](const char* name) { return p(name).view({1, 4, 1, 1}); };
                     return (x - each("running_mean")) / (each("running_var") + 0.25).sqrt() * each("weight") +
                            each("bias");
                   }});
  cases.push_back({"global_avg_pool", GlobalAvgPool{}, [](const at::Tensor& x, Parameter) {
                     return x.mean(at::IntArrayRef({2, 3}), /*keepdim=*/true);
                   }});
  // Padded zeros count.
  cases.push_back({"avg_pool", AvgPool{{3, 2}, {2, 3}, {1, 0}}, [](const at::Tensor& x, Parameter) {
                     return at::avg_pool2d(x, {3, 2}, {2, 3}, {1, 0}, /*ceil_mode=*/false, /*count_include_pad=*/true);
                   }});
  cases.push_back({"max_pool", MaxPool{{3, 2}, {2, 3}, {1, 0}}, [](const at::Tensor& x, Parameter) {
                     return at::max_pool2d(x, {3, 2}, {2, 3}, {1, 0});
                   }});
  cases.push_back({"flatten", Flatten{}, [](const at::Tensor& x, Parameter) { return x.reshape({x.size(0), 252}); }});
  cases.push_back({"subsample", Subsample{{2, 3}}, [](const at::Tensor& x, Parameter) {
                     at::Tensor y = at::zeros({x.size(0), 4, 5, 3}, at::kDouble);
                     for (int64_t h = 0; h < 5; ++h) {
                       for (int64_t w = 0; w < 3; ++w)
                         y.select(2, h).select(2, w).copy_(x.select(2, 2 * h).select(2, 3 * w));
                     }
                     return y;
                   }});
  cases.push_back({"pad_channels", PadChannels{1, 2}, [](const at::Tensor& x, Parameter) {
                     const auto zeros = [&](int64_t n) { return at::zeros({x.size(0), n, 9, 7}, at::kDouble); };
                     return at::cat({zeros(1), x, zeros(2)}, 1);
                   }});
  return cases;
}

TEST(ExecutorTest, EveryOperationAgreesWithLibTorch) {
  for (const OpCase& test : OpCases()) {
    const Graph graph = Make({{"input", Input{4, 9, 7}, {}}, {"op", test.op, {0}}});
    const ParameterMap parameters = RandomParameters(graph);
    const auto parameter = [&](const char* name) { return parameters.at(ParameterName("op", name)).to(at::kDouble); };
    for (const bool channels_last : {false, true}) {
      for (const bool training : {false, true}) {
        if (training && std::holds_alternative<BatchNorm>(test.op)) continue;  // Another formula: see below.
        for (const int64_t batch : {1, 5}) {
          SCOPED_TRACE(test.name + (channels_last ? ", channels last" : "") + (training ? ", training" : "") +
                       ", batch " + std::to_string(batch));
          const at::Tensor x = Random({batch, 4, 9, 7}, 2);
          ExpectClose(Forward(MakeExecutor(graph, parameters, {training, channels_last}), x),
                      test.wanted(x.to(at::kDouble), parameter), 1e-5);
        }
      }
    }
  }
}

TEST(ExecutorTest, LinearAndAddAgreeWithArithmetic) {
  const Graph graph = Make({{"input", Input{2, 2, 3}, {}},
                            {"relu", Relu{}, {0}},
                            {"add", Add{}, {1, 0}},
                            {"twice", Add{}, {2, 2}},
                            {"flatten", Flatten{}, {3}},
                            {"fc", Linear{12, 5}, {4}},
                            {"plain", Linear{5, 3, false}, {5}}});
  const ParameterMap parameters = RandomParameters(graph);
  const at::Tensor x = Random({4, 2, 2, 3}, 3);
  const at::Tensor doubled = (x.clamp_min(0) + x).mul(2).reshape({4, 12});
  const at::Tensor fc = doubled.matmul(parameters.at("fc.weight").t()) + parameters.at("fc.bias");
  for (const bool channels_last : {false, true}) {
    ExpectClose(Forward(MakeExecutor(graph, parameters, {false, channels_last}), x),
                fc.matmul(parameters.at("plain.weight").t()), 1e-5);
  }
}

// ---- A whole network ----

Graph Resnet(Shortcut shortcut = Shortcut::kOptionA) {
  const auto graph = BuildResnetCifar({20, shortcut});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *graph;
}

TEST(ExecutorTest, MemoryOrdersDifferByRounding) {
  for (const Shortcut shortcut : {Shortcut::kOptionA, Shortcut::kOptionB}) {
    const Graph graph = Resnet(shortcut);
    const ParameterMap parameters = RandomParameters(graph);
    const at::Tensor images = Random({3, 3, 32, 32}, 4);
    const at::Tensor logits = Forward(MakeExecutor(graph, parameters, {false, true}), images);
    EXPECT_EQ(logits.sizes(), at::IntArrayRef({3, 10}));
    ExpectClose(logits, Forward(MakeExecutor(graph, parameters, {false, false}), images), 1e-4);
    // Nor does the order of the images themselves matter.
    EXPECT_TRUE(at::equal(logits, Forward(MakeExecutor(graph, parameters, {false, true}),
                                          images.contiguous(at::MemoryFormat::ChannelsLast))));
  }
}

TEST(ExecutorTest, BatchesGiveWhatTheirImagesGive) {
  const Graph graph = Resnet();
  const Executor executor = MakeExecutor(graph, RandomParameters(graph));
  const at::Tensor images = Random({5, 3, 32, 32}, 5);
  const at::Tensor logits = Forward(executor, images);
  for (int64_t n = 0; n < 5; ++n)
    ExpectClose(Forward(executor, images.slice(0, n, n + 1)), logits.slice(0, n, n + 1), 1e-5);
}

TEST(ExecutorTest, ThreadsDoNotDisturbEachOther) {
  const Graph graph = Resnet();
  const Executor executor = MakeExecutor(graph, RandomParameters(graph));
  std::vector<at::Tensor> images, alone, together(4);
  for (uint64_t i = 0; i < 4; ++i) {
    images.push_back(Random({2, 3, 32, 32}, 10 + i));
    alone.push_back(Forward(executor, images.back()));
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 3; ++repeat) together[i] = Forward(executor, images[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 4; ++i) ExpectClose(together[i], alone[i], 1e-6);
}

// Operations that could write into their input, or whose result is a view of it, right on the images.
TEST(ExecutorTest, TheImagesAreTheCallers) {
  const Graph graph = Make({{"input", Input{2, 3, 3}, {}},
                            {"view", Subsample{{1, 1}}, {0}},
                            {"relu", Relu{}, {1}},
                            {"flatten", Flatten{}, {2}},
                            {"again", Relu{}, {3}}});
  const Graph direct = Make({{"input", Input{2, 3, 3}, {}}, {"relu", Relu{}, {0}}});
  const Graph sum = Make({{"input", Input{2, 3, 3}, {}}, {"add", Add{}, {0, 0}}});
  for (const Graph* g : {&graph, &direct, &sum}) {
    for (const bool channels_last : {false, true}) {
      for (const bool training : {false, true}) {
        const at::Tensor images =
            Random({2, 2, 3, 3}, 6)
                .contiguous(channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
        const at::Tensor before = images.clone();
        Forward(MakeExecutor(*g, {}, {training, channels_last}), images);
        EXPECT_TRUE(at::equal(images, before));
      }
    }
  }
}

TEST(ExecutorTest, RefusesOtherImages) {
  const Graph graph = Make({{"input", Input{3, 4, 5}, {}}, {"relu", Relu{}, {0}}});
  const Executor executor = MakeExecutor(graph, {});
  const auto refusal = [&](const at::Tensor& images) {
    const absl::Status status = executor.Forward(images).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  const std::string wanted = ", the network wants [N, 3, 4, 5] with N >= 1";
  EXPECT_EQ(refusal(at::Tensor()), "images: got an undefined tensor");
  EXPECT_EQ(refusal(at::zeros({2, 3, 5, 4})), "images have shape [2, 3, 5, 4]" + wanted);
  EXPECT_EQ(refusal(at::zeros({3, 4, 5})), "images have shape [3, 4, 5]" + wanted);
  EXPECT_EQ(refusal(at::zeros({0, 3, 4, 5})), "images have shape [0, 3, 4, 5]" + wanted);
  EXPECT_EQ(refusal(at::zeros({1, 3, 4, 5}, at::kDouble)), "images are of type Double, the network wants Float");
  EXPECT_EQ(refusal(at::zeros({1, 3, 4, 5}, at::kByte)), "images are of type Byte, the network wants Float");
}

TEST(ExecutorTest, RefusesOtherParameters) {
  const Graph graph = Make({{"input", Input{1, 1, 1}, {}}, {"conv", Conv2d{1, 1}, {0}}});
  const absl::Status status = Executor::Create(graph, {}).status();
  EXPECT_EQ(status, absl::InvalidArgumentError("missing parameters: conv.weight"));
}

// ---- Inference ----

TEST(ExecutorTest, InferenceTakesASnapshotAndRecordsNothing) {
  const Graph graph = Make({{"input", Input{1, 1, 2}, {}}, {"conv", Conv2d{1, 1}, {0}}, {"bn", BatchNorm{1, 0}, {1}}});
  ParameterMap parameters = InitParameters(graph, 1);
  parameters["conv.weight"].fill_(2).requires_grad_();
  const Executor executor = MakeExecutor(graph, parameters);
  parameters["conv.weight"].data().fill_(5);
  parameters["bn.running_mean"].fill_(100);
  const at::Tensor y = Forward(executor, at::tensor({1.0f, -3.0f}).view({1, 1, 1, 2}));
  EXPECT_TRUE(at::equal(y.flatten(), at::tensor({2.0f, -6.0f})));
  EXPECT_FALSE(y.requires_grad());
  EXPECT_EQ(parameters["bn.running_mean"].item<float>(), 100);
  EXPECT_EQ(parameters["bn.running_var"].item<float>(), 1);
}

// ---- Training ----

TEST(ExecutorTest, TrainingNormalizesByTheBatchAndUpdatesRunningStatistics) {
  const Graph graph = Make({{"input", Input{1, 1, 2}, {}}, {"bn", BatchNorm{1, 0.5, 0.25}, {0}}});
  ParameterMap parameters = InitParameters(graph, 1);
  const Executor executor = MakeExecutor(graph, parameters, {/*training=*/true});
  // Mean 3; squared distances 4, 1, 0, 9 make variance 14 / 4, the unbiased one 14 / 3.
  const at::Tensor images = at::tensor({1.0f, 2.0f, 3.0f, 6.0f}).view({2, 1, 1, 2});
  const at::Tensor y = Forward(executor, images);
  ExpectClose(y.flatten(), at::tensor({-1.0f, -0.5f, 0.0f, 1.5f}), 1e-6);  // sqrt(3.5 + 0.5) = 2
  EXPECT_FLOAT_EQ(parameters["bn.running_mean"].item<float>(), 0.25f * 3);
  EXPECT_FLOAT_EQ(parameters["bn.running_var"].item<float>(), 0.75f + 0.25f * 14 / 3);
  Forward(executor, images);
  EXPECT_FLOAT_EQ(parameters["bn.running_mean"].item<float>(), 0.75f * 0.75f + 0.75f);
}

// Results that are written in place must not be what the backward pass needs.
TEST(ExecutorTest, TrainingRecordsGradients) {
  const Conv2d conv{2, 2, {3, 3}, {1, 1}, {1, 1}};
  const Graph graph = Make({{"input", Input{2, 4, 4}, {}},
                            {"conv1", conv, {0}},
                            {"relu1", Relu{}, {1}},
                            {"conv2", conv, {2}},
                            {"relu2", Relu{}, {3}},
                            {"add", Add{}, {4, 2}},
                            {"relu3", Relu{}, {5}},
                            {"flatten", Flatten{}, {6}},
                            {"fc", Linear{32, 3}, {7}}});
  ParameterMap parameters = RandomParameters(graph);
  ParameterMap reference = CloneParameters(parameters);
  for (ParameterMap* map : {&parameters, &reference}) {
    for (auto& [name, value] : *map) value.requires_grad_();
  }
  const at::Tensor x = Random({3, 2, 4, 4}, 8);
  const auto convolve = [&](const at::Tensor& in, const char* name) {
    return at::conv2d(in, reference.at(name), {}, 1, 1).clamp_min(0);
  };
  const at::Tensor relu1 = convolve(x, "conv1.weight");
  const at::Tensor relu3 = (convolve(relu1, "conv2.weight") + relu1).clamp_min(0);
  const at::Tensor wanted = relu3.flatten(1).matmul(reference.at("fc.weight").t()) + reference.at("fc.bias");
  const at::Tensor got = Forward(MakeExecutor(graph, parameters, {/*training=*/true}), x);
  ExpectClose(got, wanted, 1e-5);
  EXPECT_TRUE(got.requires_grad());
  got.square().sum().backward();
  wanted.square().sum().backward();
  for (const auto& [name, value] : parameters) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(value.grad().defined());
    ExpectClose(value.grad(), reference.at(name).grad(), 1e-4);
  }
}

double Distance(const at::Tensor& got, const at::Tensor& wanted) {
  return ((got - wanted).norm() / wanted.norm()).item<double>();
}

// bfloat16 has 8 significant bits: a rounding is off by 2^-8 of the number at most, and there are some 20 layers of
// them.
void ExpectMixedPrecisionNear32Bits(const absl::StatusOr<Graph>& graph) {
  ASSERT_TRUE(graph.ok()) << graph.status();
  ParameterMap parameters[2] = {InitParameters(*graph, 1), InitParameters(*graph, 1)};
  const at::Tensor images = Random({16, 3, 32, 32}, 5);
  at::Tensor logits[2];
  for (int mixed : {0, 1}) {
    for (auto& [name, value] : parameters[mixed]) {
      if (!IsRunningStatistic(name)) value.requires_grad_();
    }
    ExecutorOptions options;
    options.training = true;
    options.bfloat16 = mixed == 1;
    logits[mixed] = Forward(MakeExecutor(*graph, parameters[mixed], options), images);
    ASSERT_TRUE(logits[mixed].defined());
    logits[mixed].square().sum().backward();
  }
  EXPECT_EQ(logits[1].scalar_type(), at::kFloat);
  EXPECT_LT(Distance(logits[1], logits[0]), 0.03);
  EXPECT_GT(Distance(logits[1], logits[0]), 0.0003);  // It did compute with fewer bits.
  for (const auto& [name, value] : parameters[1]) {
    SCOPED_TRACE(name);
    EXPECT_EQ(value.scalar_type(), at::kFloat);
    if (IsRunningStatistic(name)) {
      EXPECT_LT(Distance(value, parameters[0].at(name)), 0.02);
      continue;
    }
    ASSERT_TRUE(value.grad().defined());
    EXPECT_EQ(value.grad().scalar_type(), at::kFloat);
    // Far, since a relu whose input is near 0 may go either way; PyTorch's autocast is as far from its 32 bits (0.31 at
    // most for the same network).
    EXPECT_LT(Distance(value.grad(), parameters[0].at(name).grad()), 0.45);
  }
}

TEST(ExecutorTest, MixedPrecisionIsNear32Bits) {
  if (!HasBFloat16(at::kCPU)) GTEST_SKIP() << "no AVX512-BF16 here";
  ExpectMixedPrecisionNear32Bits(BuildResnetCifar({}));
  BasicBlockResnetOptions narrow;
  narrow.blocks = {1, 1};
  narrow.widths = {8, 16};
  ExpectMixedPrecisionNear32Bits(BuildBasicBlockResnet(narrow));
}

// Without training there is nothing of it: the option is the trainer's.
TEST(ExecutorTest, MixedPrecisionIsForTraining) {
  const auto graph = BuildResnetCifar({});
  ASSERT_TRUE(graph.ok()) << graph.status();
  const ParameterMap parameters = InitParameters(*graph, 1);
  const at::Tensor images = Random({2, 3, 32, 32}, 5);
  ExecutorOptions options;
  options.bfloat16 = true;
  EXPECT_TRUE(at::equal(Forward(MakeExecutor(*graph, parameters, options), images),
                        Forward(MakeExecutor(*graph, parameters), images)));
}

TEST(ExecutorTest, TrainingSeesWhatAnOptimizerChanges) {
  const Graph graph = Make({{"input", Input{1, 1, 1}, {}}, {"conv", Conv2d{1, 1}, {0}}});
  ParameterMap parameters = InitParameters(graph, 1);
  const Executor executor = MakeExecutor(graph, parameters, {/*training=*/true});
  parameters["conv.weight"].fill_(3);
  EXPECT_EQ(Forward(executor, at::ones({1, 1, 1, 1})).item<float>(), 3);
}

}  // namespace
}  // namespace lowbit
