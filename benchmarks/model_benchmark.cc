// One forward pass of ResNet-20 (random weights) in float and fake-quantized, and folding its batch norms.
//
// What to look at: BM_FakeQuantOverFloat and BM_ObserveOverFloat. They time both passes in turn and report their ratio,
// which must stay below 1.3, and 1.5. BM_QuantizeNetwork is all weights by one quantizer: gptq must stay below 5 s.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/rand.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/keep_freed_memory.h"
#include "benchmark/benchmark.h"
#include "benchmarks/quantized_network.h"
#include "model/executor.h"
#include "model/passes/fold_batch_norm.h"
#include "model/resnet.h"
#include "quant/fake_quant_network.h"
#include "quant/input_statistics.h"
#include "quant/quantizer_registry.h"

namespace lowbit {
namespace {

constexpr int64_t kBatch = 256;
const std::vector<int64_t> kWidths = {1, 2, 3, 4, 8, 16};

template <typename T>
T Checked(absl::StatusOr<T> value) {
  LOWBIT_CHECK(value.ok(), value.status().message());
  return *std::move(value);
}

Model RandomResnet20() {
  Graph graph = Checked(BuildResnetCifar({}));
  ParameterMap parameters = InitParameters(graph, 1);
  return Model{std::move(graph), std::move(parameters)};
}

Model FoldedResnet20() { return Checked(FoldBatchNorm(RandomResnet20())).model; }

at::Tensor Images(int64_t count) { return at::rand({count, 3, 32, 32}); }

class Observer : public LayerHook {
 public:
  Observer(const Graph& graph, StatsRequest request)
      : statistics_(static_cast<size_t>(graph.size()), TensorStatistics(request)) {}
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    TensorStatistics& statistics = statistics_[static_cast<size_t>(layer)];
    LOWBIT_CHECK(statistics.request().empty() || statistics.Observe(y).ok(), "not finite");
    return y;
  }
  // Of one tensor something else is to be known.
  void Request(int layer, StatsRequest request) { statistics_[static_cast<size_t>(layer)] = TensorStatistics(request); }
  const TensorStatistics& of(int layer) const { return statistics_[static_cast<size_t>(layer)]; }

 private:
  std::vector<TensorStatistics> statistics_;
};

// All weights, and the tensors that they read, at so many bits.
QuantizedModel QuantizedResnet20(int bits) { return QuantizeForBenchmark(FoldedResnet20(), {bits, bits, bits}); }

void BM_Fold(benchmark::State& state) {
  const Model model = RandomResnet20();
  for (auto _ : state) benchmark::DoNotOptimize(Checked(FoldBatchNorm(model)));
}
BENCHMARK(BM_Fold)->Unit(benchmark::kMillisecond);

void BM_ForwardFloat(benchmark::State& state) {
  const Model model = state.range(0) != 0 ? FoldedResnet20() : RandomResnet20();
  at::set_num_threads(static_cast<int>(state.range(2)));
  const Executor executor = Checked(Executor::Create(model.graph, model.parameters));
  const at::Tensor images = Images(state.range(1));
  for (auto _ : state) benchmark::DoNotOptimize(Checked(executor.Forward(images)));
  state.SetItemsProcessed(state.iterations() * state.range(1));
}
BENCHMARK(BM_ForwardFloat)
    ->ArgNames({"folded", "batch", "threads"})
    ->ArgsProduct({{0, 1}, {1, kBatch}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

double Seconds(const std::function<absl::StatusOr<at::Tensor>()>& forward) {
  const auto begin = std::chrono::steady_clock::now();
  benchmark::DoNotOptimize(Checked(forward()));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The float pass is that of the folded network, the faster of the two. Both are timed within each iteration, so that
// whatever else the machine does meets them alike.
void BM_FakeQuantOverFloat(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(state.range(1)));
  const Model model = FoldedResnet20();
  const QuantizedModel quantized = QuantizedResnet20(static_cast<int>(state.range(0)));
  const Executor float_executor = Checked(Executor::Create(model.graph, model.parameters));
  const FakeQuantNetwork network = Checked(FakeQuantNetwork::Create(quantized));
  const at::Tensor images = Images(kBatch);
  double float_seconds = 0, quant_seconds = 0;
  for (auto _ : state) {
    float_seconds += Seconds([&] { return float_executor.Forward(images); });
    const double seconds = Seconds([&] { return network.Forward(images); });
    quant_seconds += seconds;
    state.SetIterationTime(seconds);
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
  state.counters["over_float"] = quant_seconds / float_seconds;
}
BENCHMARK(BM_FakeQuantOverFloat)
    ->ArgNames({"bits", "threads"})
    ->ArgsProduct({kWidths, {1, 2}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// All that quantizers of ranges ask to know of the tensors that convolutions and the linear layer read, over the pass
// alone.
void BM_ObserveOverFloat(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(state.range(0)));
  const Model model = FoldedResnet20();
  StatsRequest request;
  for (const std::string& name : QuantizerNames()) request.Merge(Checked(CreateQuantizer(name))->stats_request());
  Observer observer(model.graph, StatsRequest());
  for (const Layer& layer : model.graph.layers()) {
    if (HasWeight(layer.op)) observer.Request(layer.inputs.front(), request);
  }
  const Executor executor = Checked(Executor::Create(model.graph, model.parameters));
  const at::Tensor images = Images(kBatch);
  double float_seconds = 0, observed_seconds = 0;
  for (auto _ : state) {
    float_seconds += Seconds([&] { return executor.Forward(images); });
    const double seconds = Seconds([&] { return executor.Forward(images, &observer); });
    observed_seconds += seconds;
    state.SetIterationTime(seconds);
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
  state.counters["over_float"] = observed_seconds / float_seconds;
}
BENCHMARK(BM_ObserveOverFloat)->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond);

// What each layer with a weight reads.
class InputObserver : public LayerHook {
 public:
  explicit InputObserver(const Graph& graph) {
    for (int i = 0; i < graph.size(); ++i) {
      if (HasWeight(graph.layer(i).op)) inputs_.emplace(i, InputStatistics(graph.layer(i).op));
    }
  }
  at::Tensor OnInput(int layer, int, at::Tensor x) override {
    const auto found = inputs_.find(layer);
    if (found != inputs_.end()) LOWBIT_CHECK(found->second.Observe(x).ok(), "not finite");
    return x;
  }
  const InputStatistics& of(int layer) const { return inputs_.at(layer); }

 private:
  std::map<int, InputStatistics> inputs_;
};

// All weights of the network by one quantizer, with what the layers read known beforehand.
void QuantizeNetwork(benchmark::State& state, const std::string& name, int bits) {
  const Model model = FoldedResnet20();
  const std::unique_ptr<Quantizer> quantizer = Checked(CreateQuantizer(name));
  InputObserver inputs(model.graph);
  if (!quantizer->weight_stats_request().empty()) {
    const Executor executor = Checked(Executor::Create(model.graph, model.parameters));
    Checked(executor.Forward(Images(kBatch), &inputs));
  }
  for (auto _ : state) {
    for (int i = 0; i < model.graph.size(); ++i) {
      const Layer& layer = model.graph.layer(i);
      if (!HasWeight(layer.op)) continue;
      const at::Tensor& weight = model.parameters.at(ParameterName(layer.name, "weight"));
      benchmark::DoNotOptimize(Checked(quantizer->QuantizeWeight({layer, weight, bits, &inputs.of(i)})));
    }
  }
}

// Each plugin that takes weights of four bits; of one, where it takes no others.
void RegisterNetworks() {
  const Layer layer{"fc", Linear{4, 2, true}, {0}};
  for (const std::string& name : QuantizerNames()) {
    for (const int bits : {4, 1}) {
      if (!Checked(CreateQuantizer(name))->Supports(layer, Role::kWeight, bits).ok()) continue;
      benchmark::RegisterBenchmark(absl::StrCat("BM_QuantizeNetwork/", name, "/bits:", bits).c_str(),
                                   [name, bits](benchmark::State& state) { QuantizeNetwork(state, name, bits); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
      break;
    }
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::KeepFreedMemory();  // as the pipeline does
  lowbit::RegisterNetworks();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
