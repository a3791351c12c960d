#include "base/program.h"

#include <new>
#include <stdexcept>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(FailWith, SaysWhyAndPassesTheCodeOn) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(FailWith(absl::NotFoundError("no such file"), kExitUserError), 2);
  EXPECT_EQ(FailWith(absl::CancelledError("x"), kExitRunFailed), 130);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "error: no such file\ninterrupted\n");
}

TEST(PrintOutput, Prints) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(PrintOutput("a\nb\n"), kExitDone);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "a\nb\n");
}

TEST(RunProgram, ExceptionsAreErrors) {
  EXPECT_EQ(RunProgram([] { return 2; }), 2);
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunProgram([]() -> int { throw std::bad_alloc(); }), kExitRunFailed);
  EXPECT_EQ(RunProgram([]() -> int { throw std::runtime_error("odd"); }), kExitRunFailed);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "error: out of memory\nerror: odd\n");
}

}  // namespace
}  // namespace lowbit
