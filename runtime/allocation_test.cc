// That running a network takes no memory: everything was taken when the session was made. malloc and its kin are
// replaced here by ones that count.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/cpu.h"
#include "runtime/network.h"
#include "runtime/network_testing.h"

namespace {

std::atomic<int64_t> calls{0};

}  // namespace

// A sanitizer has replaced them itself.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LOWBIT_COUNTS_CALLS 1

extern "C" {

void* __libc_malloc(size_t size);                      // NOLINT: glibc's names
void* __libc_calloc(size_t count, size_t size);        // NOLINT
void* __libc_realloc(void* memory, size_t size);       // NOLINT
void* __libc_memalign(size_t alignment, size_t size);  // NOLINT

void* malloc(size_t size) {
  ++calls;
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  ++calls;
  return __libc_calloc(count, size);
}

void* realloc(void* memory, size_t size) {
  ++calls;
  return __libc_realloc(memory, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
  ++calls;
  return __libc_memalign(alignment, size);
}

}  // extern "C"

#endif

namespace lowbit {
namespace {

class AllocationTest : public testing::TestWithParam<std::string> {
 protected:
  ~AllocationTest() override { unsetenv("LOWBIT_CPU"); }
};

TEST_P(AllocationTest, RunningTakesNoMemory) {
#ifndef LOWBIT_COUNTS_CALLS
  GTEST_SKIP() << "calls of malloc are not counted here";
#endif
  constexpr int64_t kImages = 20;
  const std::vector<float> images = TinyImages(kImages, 1);
  for (const Cpu cpu : RunnableCpus()) {
    setenv("LOWBIT_CPU", std::string(CpuName(cpu)).c_str(), 1);
    const auto network = IntegerNetwork::Create(TinyModel(GetParam()));
    ASSERT_TRUE(network.ok()) << network.status();
    std::vector<float> outputs(static_cast<size_t>(kImages * (*network)->outputs()));
    for (const int threads : {1, 2}) {
      const int64_t at_first = calls;
      IntegerSession session(*network, threads);
      EXPECT_GT(calls, at_first) << "calls are not counted";
      for (const int64_t count : {int64_t{1}, kImages}) {
        const int64_t before = calls;
        const bool ok = session.Run(images.data(), count, outputs.data()).ok();
        EXPECT_EQ(calls, before) << CpuName(cpu) << ", " << count << " images on " << threads << " threads";
        EXPECT_TRUE(ok);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(TinyModels, AllocationTest, testing::ValuesIn(TinyModelKinds()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lowbit
