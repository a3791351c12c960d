// Each kernel of the integer engine on the layers of ResNet-20 and of the wide network and on a depthwise one, one
// thread. Beside it, timed in turn, runs the bare loop of the same way of multiplying (bare_loops.h).
//
// What to look at: GMAC/s and of_bare, the part of the bare loop's that is.

#include <time.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "benchmarks/bare_loops.h"
#include "runtime/aligned_vector.h"
#include "runtime/kernels/choose_kernel.h"
#include "runtime/kernels/conv_testing.h"

namespace lowbit {
namespace {

struct Shape3 {
  const char* name;
  int64_t in, out, size, stride;
  int64_t groups = 1;
};

constexpr Shape3 kShapes[] = {
    {"resnet20.conv1", 3, 16, 32, 1},   {"resnet20.stage1", 16, 16, 32, 1}, {"resnet20.down2", 16, 32, 32, 2},
    {"resnet20.stage2", 32, 32, 16, 1}, {"resnet20.stage3", 64, 64, 8, 1},  {"wide.stage1", 64, 64, 32, 1},
    {"wide.stage2", 128, 128, 16, 1},   {"wide.stage3", 256, 256, 8, 1},    {"wide.stage4", 512, 512, 4, 1},
    {"depthwise", 96, 96, 16, 1, 96},
};

struct Precision {
  const char* name;
  int32_t max_weight, max_code;
};

constexpr Precision kPrecisions[] = {
    {"w8a8", 127, 255}, {"w4a8", 7, 255}, {"w4a4", 7, 15}, {"w2a8", 1, 255}, {"w2a4", 1, 15},
    {"w2a2", 1, 3},     {"w1a8", 0, 255}, {"w1a2", 0, 3},  {"w1a1", 0, 1},
};

int64_t (*BareLoop(const std::string& kernel))(int64_t) {
  if (absl::StrContains(kernel, "avx512 bytes")) return BareBytesVnni;
  if (absl::StrContains(kernel, "avx512 bits")) return BareBits;
  if (absl::StrContains(kernel, "bytes")) return BareBytes16;
  if (absl::StrContains(kernel, "words") || absl::StrContains(kernel, "winograd")) return BareWords32;
  if (absl::StrContains(kernel, "tables")) return BareTables;
  return nullptr;
}

// This thread's own time, so that other programs' turns do not count.
double Now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void BM_Kernel(benchmark::State& state, const Shape3& shape, const Precision& precision, size_t index) {
  ConvCase test;
  test.geometry = Geometry(shape.in, shape.out, 3, shape.stride, 1, 1, shape.groups);
  test.height = test.width = shape.size;
  test.max_code = precision.max_code;
  test.max_weight = precision.max_weight;
  test.max_out = precision.max_code;
  test.shortcut = shape.in == shape.out;
  Rng random({1});
  const Plan plan = MakeConvPlan(test, random);
  const MemoryPlan memory = PlanMemory(plan);
  const ConvProblem problem = MakeConvProblem(plan, memory);
  const std::unique_ptr<ConvKernel> kernel = std::move(AllConvKernels(problem, RunnableCpus().back())[index]);
  const std::vector<uint8_t> input = FillTensor(plan.tensors[0], memory.layouts[0], false, random);
  std::vector<uint8_t> output(static_cast<size_t>(memory.layouts[1].bytes));
  std::vector<uint8_t> shortcut;
  if (test.shortcut) shortcut = FillTensor(plan.tensors[2], memory.layouts[2], false, random);
  AlignedVector<uint8_t> scratch(static_cast<size_t>(kernel->scratch_bytes()));
  const ConvBuffers buffers{input.data(), output.data(), shortcut.data(), scratch.data()};
  const double macs = static_cast<double>(shape.in / shape.groups * 9 * plan.tensors[1].size());
  auto* const bare = BareLoop(kernel->name());
  double bare_seconds = 0, bare_macs = 0, seconds = 0;
  for (auto _ : state) {
    const double start = Now();
    for (int i = 0; i < 8; ++i) kernel->Run(buffers, 0, problem.output->height);
    const double end = Now();
    state.SetIterationTime(end - start);
    seconds += end - start;
    if (bare == nullptr) continue;
    bare_macs += static_cast<double>(bare(static_cast<int64_t>(macs / 10000)));
    bare_seconds += Now() - end;
  }
  const double speed = 8 * macs * static_cast<double>(state.iterations()) * 1e-9 / seconds;
  state.counters["GMAC/s"] = speed;
  if (bare_macs > 0) {
    state.counters["bare_GMAC/s"] = bare_macs * 1e-9 / bare_seconds;
    state.counters["of_bare"] = speed / (bare_macs * 1e-9 / bare_seconds);
  }
}

void Register() {
  for (const Shape3& shape : kShapes) {
    for (const Precision& precision : kPrecisions) {
      ConvCase test;
      test.geometry = Geometry(shape.in, shape.out, 3, shape.stride, 1, 1, shape.groups);
      test.height = test.width = shape.size;
      test.max_code = precision.max_code;
      test.max_weight = precision.max_weight;
      Rng random({1});
      const Plan plan = MakeConvPlan(test, random);
      const MemoryPlan memory = PlanMemory(plan);
      const auto kernels = AllConvKernels(MakeConvProblem(plan, memory), RunnableCpus().back());
      for (size_t i = 0; i + 1 < kernels.size(); ++i) {  // the reference is slow on purpose
        std::string name = absl::StrCat("BM_Kernel/", shape.name, "/", precision.name, "/", kernels[i]->name());
        for (char& c : name) c = c == ' ' ? '_' : c;
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=](benchmark::State& state) { BM_Kernel(state, shape, precision, i); })
            ->UseManualTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::Register();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
