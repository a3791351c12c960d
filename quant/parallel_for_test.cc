#include "quant/parallel_for.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(ParallelForTest, CallsEveryIndexOnce) {
  at::set_num_threads(2);
  for (const int64_t count : {0, 1, 2, 3, 1000}) {
    std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
    ParallelFor(count, [&](int64_t i) { ++calls[static_cast<size_t>(i)]; });
    for (const auto& c : calls) EXPECT_EQ(c, 1);
  }
}

TEST(ParallelForTest, UsesTheThreadsOfLibTorch) {
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    std::mutex mutex;
    std::set<std::thread::id> seen;
    ParallelFor(64, [&](int64_t) {
      const std::lock_guard<std::mutex> lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
    EXPECT_EQ(seen.size(), static_cast<size_t>(threads));
  }
}

TEST(ParallelForTest, NestedCallsWork) {
  at::set_num_threads(2);
  std::atomic<int> calls{0};
  ParallelFor(4, [&](int64_t) { ParallelFor(5, [&](int64_t) { ++calls; }); });
  EXPECT_EQ(calls, 20);
}

}  // namespace
}  // namespace lowbit
