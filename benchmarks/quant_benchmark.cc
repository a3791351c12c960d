// Packing, fake quantization, statistics, and every registered quantizer, on shapes of ResNet-20 at batch 256.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/random.h"
#include "benchmark/benchmark.h"
#include "model/graph.h"
#include "quant/fake_quantize.h"
#include "quant/input_statistics.h"
#include "quant/packing.h"
#include "quant/quantizer_registry.h"
#include "quant/statistics.h"

namespace lowbit {
namespace {

const std::vector<int64_t> kWidths = {1, 2, 3, 4, 5, 6, 7, 8, 16};

// The largest weight, 64 rows of 64 * 3 * 3 codes.
constexpr int64_t kRows = 64;
constexpr int64_t kRowSize = 576;

// The largest activation, as after each ReLU of the first stage.
const std::vector<int64_t> kActivation = {256, 16, 32, 32};

at::Tensor Normal(at::IntArrayRef shape) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({1});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
  return x;
}

std::vector<int32_t> RandomCodes(int bits, int32_t qmin) {
  Rng rng({2});
  std::vector<int32_t> codes(kRows * kRowSize);
  for (int32_t& code : codes) code = static_cast<int32_t>(rng.UniformInt(int64_t{1} << bits)) + qmin;
  return codes;
}

void BM_PackCodes(benchmark::State& state) {
  const int bits = static_cast<int>(state.range(0));
  const std::vector<int32_t> codes = RandomCodes(bits, 0);
  for (auto _ : state) benchmark::DoNotOptimize(PackCodes(codes, kRowSize, bits, 0));
  state.SetItemsProcessed(state.iterations() * kRows * kRowSize);
}
BENCHMARK(BM_PackCodes)->ArgName("bits")->ArgsProduct({kWidths});

void BM_UnpackCodes(benchmark::State& state) {
  const int bits = static_cast<int>(state.range(0));
  std::vector<int32_t> codes = RandomCodes(bits, 0);
  const std::string packed = PackCodes(codes, kRowSize, bits, 0);
  for (auto _ : state) {
    UnpackCodes(packed, kRowSize, bits, 0, absl::MakeSpan(codes));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kRows * kRowSize);
}
BENCHMARK(BM_UnpackCodes)->ArgName("bits")->ArgsProduct({kWidths});

// What fake quantization is to be held against: copying the same tensor, and reading and writing it in place.
void BM_CopyActivation(benchmark::State& state) {
  const at::Tensor x = Normal(kActivation);
  at::Tensor y = at::empty(kActivation, at::kFloat);
  for (auto _ : state) {
    std::memcpy(y.data_ptr(), x.data_ptr(), x.nbytes());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * x.numel());
}
BENCHMARK(BM_CopyActivation)->UseRealTime();

void BM_FakeQuantizeInPlace(benchmark::State& state) {
  QuantParams params;
  params.bits = static_cast<int>(state.range(0));
  params.scale = {0.05f};
  params.zero_point = {params.bits == 1 ? -0.5f : 0};
  at::set_num_threads(static_cast<int>(state.range(1)));
  at::Tensor x = Normal(kActivation);
  for (auto _ : state) {
    x = FakeQuantizeInPlace(std::move(x), params);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * x.numel());
}
BENCHMARK(BM_FakeQuantizeInPlace)->ArgNames({"bits", "threads"})->ArgsProduct({kWidths, {1, 2}})->UseRealTime();

void BM_Observe(benchmark::State& state) {
  StatsRequest request;
  request.min_max = request.mean_abs = request.moving_average = true;
  request.histogram = state.range(0) != 0;
  at::set_num_threads(static_cast<int>(state.range(1)));
  const at::Tensor x = Normal(kActivation);
  TensorStatistics statistics(request);
  for (auto _ : state) LOWBIT_CHECK(statistics.Observe(x).ok(), "finite");
  state.SetItemsProcessed(state.iterations() * x.numel());
}
BENCHMARK(BM_Observe)->ArgNames({"histogram", "threads"})->ArgsProduct({{0, 1}, {1, 2}})->UseRealTime();

// What each layer reads, for those that ask, of the largest layers of each stage.
void BM_ObserveInput(benchmark::State& state) {
  const int64_t channels = state.range(0);
  const int64_t side = 512 / channels;
  Conv2d conv;
  conv.in_channels = conv.out_channels = channels;
  conv.kernel = {3, 3};
  conv.padding = {1, 1};
  InputStatistics statistics(conv);
  const at::Tensor x = Normal({256, channels, side, side});
  for (auto _ : state) LOWBIT_CHECK(statistics.Observe(x).ok(), "finite");
  state.SetItemsProcessed(state.iterations() * x.size(0));
}
BENCHMARK(BM_ObserveInput)->ArgName("channels")->Arg(16)->Arg(32)->Arg(64)->UseRealTime();

void QuantizeWeight(benchmark::State& state, const std::string& name, int bits) {
  const std::unique_ptr<Quantizer> quantizer = *CreateQuantizer(name);
  Conv2d conv;
  conv.in_channels = conv.out_channels = 64;
  conv.kernel = {3, 3};
  const Layer layer{"conv", conv, {0}};
  const at::Tensor weight = Normal({64, 64, 3, 3});
  InputStatistics input(layer.op);
  if (!quantizer->weight_stats_request().empty()) LOWBIT_CHECK(input.Observe(Normal({64, 64, 8, 8})).ok(), "finite");
  for (auto _ : state) {
    const auto quantized = quantizer->QuantizeWeight(WeightView{layer, weight, bits, &input});
    LOWBIT_CHECK(quantized.ok(), quantized.status().message());
  }
  state.SetItemsProcessed(state.iterations() * weight.numel());
}

void FitActivation(benchmark::State& state, const std::string& name, int bits) {
  const std::unique_ptr<Quantizer> quantizer = *CreateQuantizer(name);
  TensorStatistics statistics(quantizer->stats_request());
  LOWBIT_CHECK(statistics.Observe(Normal({8, 16, 32, 32}).clamp_min(0)).ok(), "finite");
  const Layer relu{"relu", Relu{}, {0}};
  for (auto _ : state) {
    const auto params = quantizer->FitActivation(ActivationView{relu, statistics, bits});
    LOWBIT_CHECK(params.ok(), params.status().message());
  }
}

// Each plugin at each width that it takes, for weights and for activations.
void RegisterQuantizers() {
  Conv2d conv;
  conv.in_channels = conv.out_channels = 64;
  const Layer layer{"conv", conv, {0}};
  for (const std::string& name : QuantizerNames()) {
    for (const int64_t width : kWidths) {
      const int bits = static_cast<int>(width);
      if ((*CreateQuantizer(name))->Supports(layer, Role::kWeight, bits).ok()) {
        benchmark::RegisterBenchmark(absl::StrCat("BM_QuantizeWeight/", name, "/bits:", bits).c_str(),
                                     [name, bits](benchmark::State& state) { QuantizeWeight(state, name, bits); });
      }
      if ((*CreateQuantizer(name))->Supports(Layer{"relu", Relu{}, {0}}, Role::kActivation, bits).ok()) {
        benchmark::RegisterBenchmark(absl::StrCat("BM_FitActivation/", name, "/bits:", bits).c_str(),
                                     [name, bits](benchmark::State& state) { FitActivation(state, name, bits); });
      }
    }
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::RegisterQuantizers();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
