#include "runtime/thread_pool.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(ThreadPool, RunsEachIndexOnceAndWaits) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    // Plain numbers: Run returns when all is written, and the next one begins after.
    std::vector<int> calls(static_cast<size_t>(threads), 0);
    for (int round = 1; round <= 200; ++round) {
      pool.Run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
      ASSERT_EQ(calls, std::vector<int>(static_cast<size_t>(threads), round));
    }
  }
}

TEST(ThreadPool, TheCallerIsThreadZero) {
  ThreadPool pool(3);
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<std::thread::id> ids(3);
  pool.Run([&](int thread) { ids[static_cast<size_t>(thread)] = std::this_thread::get_id(); });
  EXPECT_EQ(ids[0], caller);
  EXPECT_NE(ids[1], caller);
  EXPECT_NE(ids[1], ids[2]);
}

TEST(ThreadPool, MayGoWithoutEverHavingRun) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

TEST(SpinBarrier, NobodyIsAheadByMoreThanARound) {
  constexpr int kThreads = 3;
  ThreadPool pool(kThreads);
  SpinBarrier barrier(kThreads);
  // What a thread wrote before the barrier is there for the others behind it, without any other lock.
  std::vector<int> written(kThreads, 0);
  std::atomic<int> wrong{0};
  pool.Run([&](int thread) {
    for (int round = 1; round <= 500; ++round) {
      written[static_cast<size_t>(thread)] = round;
      barrier.Wait();
      for (const int value : written) {
        if (value != round) ++wrong;
      }
      barrier.Wait();
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(SpinBarrier, OfOneDoesNotWait) {
  SpinBarrier barrier(1);
  for (int i = 0; i < 3; ++i) barrier.Wait();
}

}  // namespace
}  // namespace lowbit
