#include "base/interrupt.h"

#include <atomic>
#include <csignal>

namespace lowbit {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may use only lock-free atomics");

extern "C" void OnInterrupt(int signal) {
  if (!interrupted.exchange(true)) return;
  // Die of the signal itself, so that a shell sees why. It is blocked here, and is delivered when we return.
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

void InstallInterruptHandler() {
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = OnInterrupt;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
  }
  std::signal(SIGXFSZ, SIG_IGN);
}

bool Interrupted() { return interrupted.load(std::memory_order_relaxed); }

absl::Status CheckInterrupt() { return Interrupted() ? absl::CancelledError("interrupted") : absl::OkStatus(); }

void RequestInterruptForTest() { interrupted = true; }

void ClearInterrupt() { interrupted = false; }

}  // namespace lowbit
