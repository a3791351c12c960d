// The Loader alone: how many images per second it reads from memory, augments and normalises, in batches of 128.
//
// What to look at: whether that is more than a training step takes (train_benchmark; a GPU takes more). CPU is the time
// of all threads together.

#include <algorithm>
#include <memory>

#include "base/check.h"
#include "benchmark/benchmark.h"
#include "data/in_memory_dataset.h"
#include "data/loader.h"

namespace lowbit {
namespace {

enum Augmentation { kNone, kCropFlip, kCropFlipColour };

void BM_Loader(benchmark::State& state) {
  SyntheticOptions dataset_options;
  dataset_options.size = 50'000;  // as many as CIFAR-10 has, so that they are as little in the cache
  const std::unique_ptr<Dataset> dataset = MakeSyntheticDataset(dataset_options);
  LoaderOptions options;
  options.order = ShuffledOrder(dataset->size(), /*seed=*/1, /*epoch=*/1);
  options.batch_size = 128;
  options.threads = static_cast<int>(state.range(1));
  options.prefetch = std::max(options.prefetch, 2 * options.threads);
  if (state.range(0) != kNone) {
    options.augment.emplace();
    if (state.range(0) == kCropFlip) {
      options.augment->brightness = options.augment->contrast = options.augment->saturation = options.augment->hue = 0;
    }
  }
  for (auto _ : state) {
    auto loader = Loader::Create(dataset.get(), options);
    LOWBIT_CHECK(loader.ok(), loader.status().message());
    while (true) {
      auto batch = (*loader)->Next();
      LOWBIT_CHECK(batch.ok(), batch.status().message());
      if (!batch->has_value()) break;
      benchmark::DoNotOptimize((*batch)->images.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * dataset->size());
}
BENCHMARK(BM_Loader)
    ->ArgNames({"augmentation", "threads"})
    ->ArgsProduct({{kNone, kCropFlip, kCropFlipColour}, {1, 2, 4}})
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lowbit

BENCHMARK_MAIN();
