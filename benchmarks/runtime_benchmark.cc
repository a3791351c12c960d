// Whole networks with random weights in the integer engine, LibTorch's int8 operators (onednn engine) and LibTorch in
// float. The three are timed in turn within each iteration, so that whatever else the machine does meets them alike.
//
// What to look at: over_int8 and over_float, images/s of the integer engine as a multiple of LibTorch's.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/rand.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/keep_freed_memory.h"
#include "benchmark/benchmark.h"
#include "benchmarks/quantized_network.h"
#include "model/executor.h"
#include "model/passes/fold_batch_norm.h"
#include "model/resnet.h"
#include "runtime/network.h"

namespace lowbit {
namespace {

template <typename T>
T Checked(absl::StatusOr<T> value) {
  LOWBIT_CHECK(value.ok(), value.status().message());
  return *std::move(value);
}

Model Folded(absl::StatusOr<Graph> built) {
  Graph graph = Checked(std::move(built));
  ParameterMap parameters = InitParameters(graph, 1);
  return Checked(FoldBatchNorm(Model{std::move(graph), std::move(parameters)})).model;
}

double Seconds(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void RunNetwork(benchmark::State& state, const Model& model, const Widths& widths, int64_t batch, int threads) {
  at::set_num_threads(threads);
  const auto network = Checked(IntegerNetwork::Create(QuantizeForBenchmark(model, widths)));
  IntegerSession session(network, threads);
  const Executor executor = Checked(Executor::Create(model.graph, model.parameters));
  const TorchInt8Model int8 = TorchInt8ForBenchmark(model, "onednn");
  const Shape& shape = model.graph.input_shape();
  const at::Tensor images = at::rand({batch, shape[0], shape[1], shape[2]});
  std::vector<float> logits(static_cast<size_t>(batch * network->outputs()));
  double integer_seconds = 0, int8_seconds = 0, float_seconds = 0;
  for (auto _ : state) {
    const double seconds =
        Seconds([&] { LOWBIT_CHECK(session.Run(images.data_ptr<float>(), batch, logits.data()).ok(), ""); });
    integer_seconds += seconds;
    int8_seconds += Seconds([&] { benchmark::DoNotOptimize(Checked(int8.Forward(images))); });
    float_seconds += Seconds([&] { benchmark::DoNotOptimize(Checked(executor.Forward(images))); });
    state.SetIterationTime(seconds);
  }
  const double images_run = static_cast<double>(state.iterations() * batch);
  state.counters["images/s"] = images_run / integer_seconds;
  state.counters["GMAC/s"] = images_run * static_cast<double>(Macs(model.graph)) * 1e-9 / integer_seconds;
  state.counters["int8_images/s"] = images_run / int8_seconds;
  state.counters["float_images/s"] = images_run / float_seconds;
  state.counters["over_int8"] = int8_seconds / integer_seconds;
  state.counters["over_float"] = float_seconds / integer_seconds;
}

void Register() {
  struct Network {
    const char* name;
    std::function<absl::StatusOr<Graph>()> build;
    std::vector<int64_t> batches;
  };
  const Network networks[] = {
      {"resnet20", [] { return BuildResnetCifar({}); }, {1, 256}},
      {"wide", [] { return BuildBasicBlockResnet(BasicBlockResnetOptions()); }, {1, 32}},
  };
  const std::pair<const char*, Widths> kinds[] = {
      {"w8a8", {8, 8, 8}}, {"w4a8", {4, 8, 8}}, {"w4a4", {4, 4, 8}}, {"w2a8", {2, 8, 8}}, {"w2a4", {2, 4, 8}},
      {"w2a2", {2, 2, 8}}, {"w1a8", {1, 8, 8}}, {"w1a2", {1, 2, 8}}, {"w1a1", {1, 1, 8}},
  };
  for (const Network& network : networks) {
    for (const auto& [name, widths] : kinds) {
      for (const int64_t batch : network.batches) {
        for (const int threads : {1, 2}) {
          benchmark::RegisterBenchmark(
              absl::StrCat("BM_Network/", network.name, "/", name, "/batch:", batch, "/threads:", threads).c_str(),
              [build = network.build, widths = widths, batch, threads](benchmark::State& state) {
                RunNetwork(state, Folded(build()), widths, batch, threads);
              })
              ->UseManualTime()
              ->Unit(benchmark::kMillisecond);
        }
      }
    }
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::KeepFreedMemory();  // or LibTorch would be measured by its allocations
  lowbit::Register();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
