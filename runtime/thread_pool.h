#ifndef LOWBIT_RUNTIME_THREAD_POOL_H_
#define LOWBIT_RUNTIME_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lowbit {

// Threads that run the same function together, one call at a time.
class ThreadPool {
 public:
  // The caller of Run is one of the `threads`. Throws std::system_error where the system has no more of them.
  explicit ThreadPool(int threads);
  ~ThreadPool();

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // f(i) for each thread i in [0, size()), the caller's being 0. Returns when all have.
  void Run(const std::function<void(int)>& f);

 private:
  void Work(int index);
  void Stop();

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* job_ = nullptr;
  int64_t round_ = 0;  // of calls of Run
  int running_ = 0;
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

// Where threads wait for each other, for moments only: they spin, and give way to others after a while.
class SpinBarrier {
 public:
  explicit SpinBarrier(int threads) : threads_(threads) {}

  void Wait();

 private:
  const int threads_;
  std::atomic<int> arrived_{0};
  std::atomic<int> phase_{0};
};

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_THREAD_POOL_H_
