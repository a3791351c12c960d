#include "runtime/thread_pool.h"

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <system_error>
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

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // those need all addresses there are

// Makes a pool whose first threads can be had, and not the others.
void RunOutOfThreads() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = static_cast<rlim_t>(pages) * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{100} << 20);
  const rlimit limit = {bytes, bytes};
  if (setrlimit(RLIMIT_AS, &limit) != 0) std::exit(2);
  try {
    ThreadPool pool(1000);
  } catch (const std::system_error&) {
    std::exit(0);
  }
  std::exit(3);
}

TEST(ThreadPoolDeathTest, TooManyThreadsAreAnException) {
  EXPECT_EXIT(RunOutOfThreads(), testing::ExitedWithCode(0), "");
}

#endif

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
