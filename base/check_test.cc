#include "base/check.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(CheckTest, TrueDoesNotEvaluateTheMessage) {
  int evaluated = 0;
  LOWBIT_CHECK(1 + 1 == 2, ++evaluated);
  EXPECT_EQ(evaluated, 0);
}

TEST(CheckDeathTest, FalseNamesPlaceConditionAndMessage) {
  const int index = 7;
  EXPECT_DEATH(LOWBIT_CHECK(index < 3, "index ", index, " of ", 3),
               "check_test.cc:[0-9]+: check failed: index < 3: index 7 of 3");
  EXPECT_DEATH(LOWBIT_CHECK(index < 3), "check_test.cc:[0-9]+: check failed: index < 3\n");
}

}  // namespace
}  // namespace lowbit
