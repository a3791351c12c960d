#include "base/first_difference.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(FirstDifferenceTest, NamesTheFirstLineThatDiffers) {
  EXPECT_EQ(FirstDifference("seed: 1\nepochs: 3\nrate: 5", "seed: 1\nepochs: 4\nrate: 6"),
            "\"epochs: 3\" there, \"epochs: 4\" here");
  EXPECT_EQ(FirstDifference("a", "b"), "\"a\" there, \"b\" here");
  EXPECT_EQ(FirstDifference("a\nb", "a\nc"), "\"b\" there, \"c\" here");
}

TEST(FirstDifferenceTest, OneMayBeLongerThanTheOther) {
  EXPECT_EQ(FirstDifference("", "a"), "\"\" there, \"a\" here");
  EXPECT_EQ(FirstDifference("a\nb", "a"), "\"b\" there, \"\" here");
  EXPECT_EQ(FirstDifference("a", "a\nb\nc"), "\"\" there, \"b\" here");
}

}  // namespace
}  // namespace lowbit
