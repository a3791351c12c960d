#include "base/interrupt.h"

#include <csignal>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

class InterruptTest : public testing::Test {
 protected:
  void SetUp() override { ClearInterrupt(); }
  void TearDown() override {
    ClearInterrupt();
    for (const int signal : {SIGINT, SIGTERM, SIGXFSZ}) std::signal(signal, SIG_DFL);
  }
};
using InterruptDeathTest = InterruptTest;

TEST_F(InterruptTest, RequestAndClear) {
  EXPECT_FALSE(Interrupted());
  EXPECT_TRUE(CheckInterrupt().ok());
  RequestInterruptForTest();
  EXPECT_TRUE(Interrupted());
  EXPECT_EQ(CheckInterrupt(), absl::CancelledError("interrupted"));
  ClearInterrupt();
  EXPECT_FALSE(Interrupted());
}

TEST_F(InterruptTest, FirstSignalOnlySetsTheFlag) {
  InstallInterruptHandler();
  for (const int signal : {SIGINT, SIGTERM}) {
    ClearInterrupt();
    std::raise(signal);
    EXPECT_TRUE(Interrupted()) << signal;
  }
}

TEST_F(InterruptDeathTest, SecondSignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        InstallInterruptHandler();
        std::raise(SIGTERM);
        if (Interrupted()) std::raise(SIGINT);
      },
      testing::KilledBySignal(SIGINT), "");
}

TEST_F(InterruptTest, IgnoredSignalStaysIgnored) {
  std::signal(SIGINT, SIG_IGN);
  InstallInterruptHandler();
  std::raise(SIGINT);
  EXPECT_FALSE(Interrupted());
}

TEST_F(InterruptTest, FileSizeLimitDoesNotKill) {
  InstallInterruptHandler();
  std::raise(SIGXFSZ);
  EXPECT_FALSE(Interrupted());
}

}  // namespace
}  // namespace lowbit
