// Reconstruction of one residual block of ResNet-20 (QDrop: roundings and the scales of both activations, batch 32, 4
// bits), as the reconstruct step does it and as one writes it with LibTorch's operators, autograd and Adam.
//
// What to look at: steps_per_second of the step, and over_plain, how many times as many it does as the plain one. Both
// are timed in turn within each iteration, so that whatever else the machine does meets them alike.

#include <torch/torch.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "benchmark/benchmark.h"
#include "model/parameters.h"
#include "quant/fake_quant_model.h"
#include "reconstruction/block_reconstruction.h"
#include "reconstruction/reconstruct_defaults.h"

namespace lowbit {
namespace {

constexpr int64_t kImages = 64;
constexpr int64_t kSteps = 20;  // timed at once
constexpr int kBits = 4;

// Two 3x3 convolutions with as many channels as they read.
struct Shapes {
  int64_t channels;
  int64_t side;
};

Graph BlockGraph(const Shapes& shapes) {
  Conv2d conv{shapes.channels, shapes.channels, {3, 3}};
  conv.padding = {1, 1};
  conv.bias = true;
  auto graph = Graph::Create({{"x", Input{shapes.channels, shapes.side, shapes.side}, {}},
                              {"conv1", conv, {0}},
                              {"relu1", Relu{}, {1}},
                              {"conv2", conv, {2}},
                              {"add", Add{}, {3, 0}},
                              {"relu2", Relu{}, {4}}});
  LOWBIT_CHECK(graph.ok(), graph.status().message());
  return *std::move(graph);
}

QuantParams WeightParams(const at::Tensor& weight) {
  QuantParams params;
  params.bits = kBits;
  const at::Tensor largest = weight.abs().amax({1, 2, 3}).div(params.qmax()).contiguous();
  params.scale.assign(largest.data_ptr<float>(), largest.data_ptr<float>() + largest.numel());
  params.zero_point.assign(params.scale.size(), 0.0f);
  return params;
}

QuantParams ActivationParams() {
  QuantParams params;
  params.bits = kBits;
  params.is_signed = false;
  params.scale = {0.2f};
  params.zero_point = {0.0f};
  return params;
}

BlockTask MakeTask(const Shapes& shapes) {
  Graph graph = BlockGraph(shapes);
  ParameterMap parameters = InitParameters(graph, 1);
  auto start = ToQuantizedModel({graph, parameters});
  LOWBIT_CHECK(start.ok(), start.status().message());
  for (const char* layer : {"conv1", "conv2"}) {
    const at::Tensor& weight = parameters.at(ParameterName(layer, "weight"));
    const QuantParams params = WeightParams(weight);
    const at::Tensor scale = torch::tensor(params.scale).view({-1, 1, 1, 1});
    const QuantizedTensor codes{params, weight.div(scale).round().to(at::kInt)};
    LOWBIT_CHECK(SetWeight(layer, codes, &*start).ok(), layer);
  }
  for (const char* layer : {"relu1", "relu2"}) start->activations[layer] = ActivationParams();
  const auto images = [&] {
    return at::rand({kImages, shapes.channels, shapes.side, shapes.side}).contiguous(at::MemoryFormat::ChannelsLast);
  };
  return BlockTask{"block",           {std::move(graph), std::move(parameters)},
                   *std::move(start), images(),
                   images(),          images(),
                   std::nullopt,      at::Tensor()};
}

// What the papers' code does, in C++.
class PlainStep {
 public:
  explicit PlainStep(const BlockTask& task) : task_(task) {
    for (const char* layer : {"conv1", "conv2"}) {
      const at::Tensor weight = task.float_part.parameters.at(ParameterName(layer, "weight"));
      const QuantParams params = WeightParams(weight);
      scales_.push_back(torch::tensor(params.scale).view({-1, 1, 1, 1}));
      floors_.push_back(weight.div(scales_.back()).floor());
      const at::Tensor rest = weight.div(scales_.back()).sub(floors_.back());
      alphas_.push_back(torch::log(1.2 / (rest + 0.1) - 1).neg().set_requires_grad(true));
      biases_.push_back(task.float_part.parameters.at(ParameterName(layer, "bias")));
      activation_scales_.push_back(torch::full({1}, 0.2f).set_requires_grad(true));
    }
    rounding_ = std::make_unique<torch::optim::Adam>(alphas_, torch::optim::AdamOptions(1e-3));
    activation_ = std::make_unique<torch::optim::Adam>(activation_scales_, torch::optim::AdamOptions(4e-5));
  }

  void Run() {
    const at::Tensor rows = torch::randperm(kImages).slice(0, 0, 32);
    const at::Tensor x_quantized = task_.quantized_in.index_select(0, rows);
    const at::Tensor x_float = task_.float_in.index_select(0, rows);
    const at::Tensor target = task_.target.index_select(0, rows);
    const at::Tensor x = torch::where(torch::rand_like(x_float) < 0.5, x_float, x_quantized).contiguous();
    at::Tensor y = Activation(torch::conv2d(x, Weight(0), biases_[0], 1, 1).relu(), 0);
    y = Activation((torch::conv2d(y, Weight(1), biases_[1], 1, 1) + x).relu(), 1);
    at::Tensor loss = (y - target).pow(2).sum(1).mean();
    for (size_t i = 0; i < alphas_.size(); ++i) loss = loss + 0.01 * (1 - (2 * H(i) - 1).abs().pow(10)).sum();
    rounding_->zero_grad();
    activation_->zero_grad();
    loss.backward();
    rounding_->step();
    activation_->step();
  }

 private:
  at::Tensor H(size_t i) const { return torch::clamp(torch::sigmoid(alphas_[i]) * 1.2 - 0.1, 0, 1); }
  at::Tensor Weight(size_t i) const {
    return (floors_[i] + H(i)).clamp(-(1 << (kBits - 1)), (1 << (kBits - 1)) - 1) * scales_[i];
  }
  at::Tensor Activation(const at::Tensor& x, size_t i) const {
    const at::Tensor shifted = x / activation_scales_[i];
    const at::Tensor rounded = (shifted.round() - shifted).detach() + shifted;
    const at::Tensor quantized = rounded.clamp(0, (1 << kBits) - 1) * activation_scales_[i];
    return torch::where(torch::rand_like(x) < 0.5, quantized, x);
  }

  const BlockTask& task_;
  std::vector<at::Tensor> scales_, floors_, alphas_, biases_, activation_scales_;
  std::unique_ptr<torch::optim::Adam> rounding_, activation_;
};

template <typename Body>
double Seconds(const Body& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void BM_ReconstructBlock(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(state.range(1)));
  const BlockTask task = MakeTask({16 << state.range(0), 32 >> state.range(0)});
  ReconstructConfig config;
  config.set_preset(ReconstructConfig::QDROP);
  config.set_num_images(kImages);
  config.set_iterations(kSteps);
  config.set_warmup(0);
  SpellOutReconstructDefaults(&config);
  // The first step comes at once, and the way to it is no part of what is measured: time runs from the first to the
  // last.
  const auto own = [&] {
    std::chrono::steady_clock::time_point first, last;
    const auto result = ReconstructBlock(task, config, [&](const BlockProgress& progress) {
      last = std::chrono::steady_clock::now();
      if (progress.step == 1) first = last;
      return absl::OkStatus();
    });
    LOWBIT_CHECK(result.ok(), result.status().message());
    return std::chrono::duration<double>(last - first).count() * kSteps / (kSteps - 1);
  };
  PlainStep plain(task);
  own();
  plain.Run();
  double own_seconds = 0, plain_seconds = 0;
  for (auto _ : state) {
    const double seconds = own();
    own_seconds += seconds;
    plain_seconds += Seconds([&] {
      for (int64_t i = 0; i < kSteps; ++i) plain.Run();
    });
    state.SetIterationTime(seconds);
  }
  const double steps = static_cast<double>(kSteps * state.iterations());
  state.counters["steps_per_second"] = steps / own_seconds;
  state.counters["plain_steps_per_second"] = steps / plain_seconds;
  state.counters["over_plain"] = plain_seconds / own_seconds;
}
BENCHMARK(BM_ReconstructBlock)
    ->ArgNames({"stage", "threads"})
    ->ArgsProduct({{0, 1, 2}, {1, 2}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lowbit

BENCHMARK_MAIN();
