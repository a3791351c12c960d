// One step of training ResNet-20 at batch 128, as the trainer does it and as one writes it with LibTorch's modules.
//
// What to look at: over_nchw and over_nhwc, how many times as many images per second the trainer's step does as the
// modules' in the one memory order and the other. All are timed in turn within each iteration, so that whatever else
// the machine does meets them alike.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "benchmarks/training_step.h"
#include "model/executor.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

constexpr int64_t kBatch = 128;

struct Contestant {
  std::string name;
  std::unique_ptr<TrainingStep> step;
  double seconds = 0;
};

double Seconds(TrainingStep& step, const at::Tensor& images, const at::Tensor& labels) {
  const auto begin = std::chrono::steady_clock::now();
  benchmark::DoNotOptimize(step.Run(images, labels));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The iteration's time is that of the trainer's step in 32 bits.
void BM_TrainingStep(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(state.range(0)));
  const ParameterMap initial = InitParameters(*BuildResnetCifar({}), 1);
  std::vector<Contestant> contestants;
  ExecutorOptions own_nchw, own_bfloat16;
  own_nchw.channels_last = false;
  own_bfloat16.bfloat16 = true;
  contestants.push_back({"own", MakeExecutorStep(initial)});
  contestants.push_back({"nchw", MakeModuleStep(initial, at::MemoryFormat::Contiguous)});
  contestants.push_back({"nhwc", MakeModuleStep(initial, at::MemoryFormat::ChannelsLast)});
  contestants.push_back({"own_nchw", MakeExecutorStep(initial, own_nchw)});
  if (HasBFloat16(at::kCPU)) contestants.push_back({"own_bfloat16", MakeExecutorStep(initial, own_bfloat16)});
  const at::Tensor images = at::rand({kBatch, 3, 32, 32});
  const at::Tensor labels = at::randint(10, {kBatch}, at::kLong);
  for (Contestant& contestant : contestants)
    Seconds(*contestant.step, images, labels);  // Memory is got, kernels chosen.
  for (auto _ : state) {
    const double before = contestants[0].seconds;
    for (Contestant& contestant : contestants) contestant.seconds += Seconds(*contestant.step, images, labels);
    state.SetIterationTime(contestants[0].seconds - before);
  }
  const auto rate = [&](const Contestant& contestant) {
    return static_cast<double>(state.iterations() * kBatch) / contestant.seconds;
  };
  for (const Contestant& contestant : contestants) state.counters[contestant.name] = rate(contestant);
  state.counters["over_nchw"] = rate(contestants[0]) / rate(contestants[1]);
  state.counters["over_nhwc"] = rate(contestants[0]) / rate(contestants[2]);
  state.counters["over_own_nchw"] = rate(contestants[0]) / rate(contestants[3]);
  if (contestants.size() > 4) state.counters["bfloat16_over_own"] = rate(contestants[4]) / rate(contestants[0]);
}
BENCHMARK(BM_TrainingStep)
    ->ArgName("threads")
    ->Arg(1)
    ->Arg(2)
    ->Iterations(10)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lowbit

BENCHMARK_MAIN();
