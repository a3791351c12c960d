#include "base/did_you_mean.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

const std::vector<std::string>& Names() {
  static const auto* const names = new std::vector<std::string>{"per_channel", "min_max", "mse", "gptq", "apot"};
  return *names;
}

TEST(DidYouMeanTest, FindsSlips) {
  EXPECT_EQ(DidYouMean("minmax", Names()), "; did you mean \"min_max\"?");            // left out
  EXPECT_EQ(DidYouMean("perr_channel", Names()), "; did you mean \"per_channel\"?");  // put in
  EXPECT_EQ(DidYouMean("mze", Names()), "; did you mean \"mse\"?");                   // another
  EXPECT_EQ(DidYouMean("gtpq", Names()), "; did you mean \"gptq\"?");                 // swapped
  EXPECT_EQ(DidYouMean("Per-Channel", Names()), "; did you mean \"per_channel\"?");
}

TEST(DidYouMeanTest, ASwapCountsOnce) {
  // One change is the limit for three letters; without swaps this would be two.
  EXPECT_EQ(DidYouMean("sme", {"mse"}), "; did you mean \"mse\"?");
  EXPECT_EQ(DidYouMean("sem", {"mse"}), "");
}

TEST(DidYouMeanTest, StaysSilentWhereNothingIsNear) {
  EXPECT_EQ(DidYouMean("adaround", Names()), "");
  EXPECT_EQ(DidYouMean("", Names()), "");
  EXPECT_EQ(DidYouMean("x", {"y"}), "");
  EXPECT_EQ(DidYouMean("mse", {}), "");
}

TEST(DidYouMeanTest, NamesTheNearestAndThenTheFirst) {
  EXPECT_EQ(DidYouMean("conv9", {"conv21", "conv1"}), "; did you mean \"conv1\"?");
  EXPECT_EQ(DidYouMean("conv9", {"conv3", "conv1", "conv2"}), "; did you mean \"conv1\"?");
}

TEST(UnknownNameMessageTest, SuggestsAndLists) {
  EXPECT_EQ(UnknownNameMessage("quantizer", "minmax", Names()),
            "unknown quantizer \"minmax\"; did you mean \"min_max\"? (known: apot, gptq, min_max, mse, per_channel)");
  EXPECT_EQ(UnknownNameMessage("step", "fly", {"fold"}), "unknown step \"fly\" (known: fold)");
  EXPECT_EQ(UnknownNameMessage("step", "fly", {}), "unknown step \"fly\" (none is known)");
}

}  // namespace
}  // namespace lowbit
