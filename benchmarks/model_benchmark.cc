// One forward pass of ResNet-20 (random weights) in float and fake-quantized, and folding its batch norms.
//
// What to look at: BM_FakeQuantOverFloat. It times both passes in turn and reports their ratio, which must stay
// below 1.3.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/rand.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "benchmark/benchmark.h"
#include "model/executor.h"
#include "model/passes/fold_batch_norm.h"
#include "model/resnet.h"
#include "quant/fake_quant_model.h"
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
    LOWBIT_CHECK(statistics_[static_cast<size_t>(layer)].Observe(y).ok(), "not finite");
    return y;
  }
  const TensorStatistics& of(int layer) const { return statistics_[static_cast<size_t>(layer)]; }

 private:
  std::vector<TensorStatistics> statistics_;
};

// All weights, and the tensors that they read, at so many bits.
QuantizedModel QuantizedResnet20(int bits) {
  const Model model = FoldedResnet20();
  const std::unique_ptr<Quantizer> quantizer = Checked(CreateQuantizer("per_channel"));
  Observer observer(model.graph, quantizer->stats_request());
  const Executor executor = Checked(Executor::Create(model.graph, model.parameters));
  Checked(executor.Forward(Images(32), &observer));
  QuantizedModel quantized = Checked(ToQuantizedModel(model));
  for (const Layer& layer : model.graph.layers()) {
    if (!HasWeight(layer.op)) continue;
    const at::Tensor& weight = model.parameters.at(ParameterName(layer.name, "weight"));
    LOWBIT_CHECK(SetWeight(layer.name, Checked(quantizer->QuantizeWeight({layer, weight, bits})), &quantized).ok(), "");
    const int producer = layer.inputs.front();
    const Layer& from = model.graph.layer(producer);
    quantized.activations[from.name] = Checked(quantizer->FitActivation({from, observer.of(producer), bits}));
  }
  return quantized;
}

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

double Seconds(const Executor& executor, const at::Tensor& images, LayerHook* hook) {
  const auto begin = std::chrono::steady_clock::now();
  benchmark::DoNotOptimize(Checked(executor.Forward(images, hook)));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The float pass is that of the folded network, the faster of the two. Both are timed within each iteration, so that
// whatever else the machine does meets them alike.
void BM_FakeQuantOverFloat(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(state.range(1)));
  const Model model = FoldedResnet20();
  const QuantizedModel quantized = QuantizedResnet20(static_cast<int>(state.range(0)));
  const Executor float_executor = Checked(Executor::Create(model.graph, model.parameters));
  const Executor quant_executor = Checked(Executor::Create(quantized.graph, Checked(FakeQuantParameters(quantized))));
  FakeQuantHook hook(quantized);
  const at::Tensor images = Images(kBatch);
  double float_seconds = 0, quant_seconds = 0;
  for (auto _ : state) {
    float_seconds += Seconds(float_executor, images, nullptr);
    const double seconds = Seconds(quant_executor, images, &hook);
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

}  // namespace
}  // namespace lowbit

BENCHMARK_MAIN();
