#include "base/user_path.h"

#include <cstdlib>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(UserPath, StartsAtTheUsersFolderUnderBazelRun) {
  unsetenv("BUILD_WORKING_DIRECTORY");
  EXPECT_EQ(UserPath("a/b"), "a/b");
  setenv("BUILD_WORKING_DIRECTORY", "/home/u", 1);
  EXPECT_EQ(UserPath("a/b"), "/home/u/a/b");
  EXPECT_EQ(UserPath("/a/b"), "/a/b");
  EXPECT_EQ(UserPath(""), "");
  unsetenv("BUILD_WORKING_DIRECTORY");
}

}  // namespace
}  // namespace lowbit
