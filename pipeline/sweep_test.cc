#include "pipeline/sweep.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

absl::StatusOr<Sweep> Expand(const std::string& sweep) {
  const auto config = Config::Parse("steps { fold {} }\nsteps { calibrate {} }\nsteps { evaluate {} }\n" + sweep, "c");
  EXPECT_TRUE(config.ok()) << config.status();
  return ExpandSweep(*config);
}

TEST(ExpandSweep, WithoutASweepThereIsOneVariantThatSharesNothing) {
  const auto sweep = Expand("");
  ASSERT_TRUE(sweep.ok());
  ASSERT_EQ(sweep->variants.size(), 1u);
  EXPECT_EQ(sweep->variants[0].value, "");
  EXPECT_EQ(sweep->shared_steps, 0);
}

TEST(ExpandSweep, StepsBeforeTheFirstTouchedOneAreShared) {
  const auto sweep = Expand(R"(sweep {
    fields: ["steps[2].evaluate.max_images", "steps[1].calibrate.num_images"] values: ["10", "20"] })");
  ASSERT_TRUE(sweep.ok()) << sweep.status();
  EXPECT_EQ(sweep->shared_steps, 1);
  ASSERT_EQ(sweep->variants.size(), 2u);
  EXPECT_EQ(sweep->variants[1].value, "20");
  EXPECT_EQ(sweep->variants[1].config.proto().steps(1).calibrate().num_images(), 20);
  EXPECT_EQ(sweep->variants[1].config.proto().steps(2).evaluate().max_images(), 20);
  EXPECT_EQ(sweep->variants[0].config.proto().steps(2).evaluate().max_images(), 10);
}

TEST(ExpandSweep, WhatAllStepsDependOnSharesNothing) {
  EXPECT_EQ(Expand("sweep { fields: \"seed\" values: [\"1\", \"2\"] }")->shared_steps, 0);
  EXPECT_EQ(Expand("sweep { fields: \"model.resnet_cifar.depth\" values: \"20\" }")->shared_steps, 0);
}

TEST(ExpandSweep, ErrorsSayWhere) {
  EXPECT_EQ(Expand("sweep { values: \"1\" }").status().message(), "c:4:1: sweep: has no fields to give the values to");
  EXPECT_EQ(Expand("sweep { fields: \"seed\" }").status().message(), "c:4:1: sweep: has no values");
  EXPECT_EQ(Expand("sweep { fields: \"threads\" values: \"1\" }").status().message(),
            "c:4:9: sweep.fields[0]: \"threads\" cannot be swept; fields of steps[...] and model can, and seed");
  EXPECT_EQ(Expand("sweep {\n  column: \"n\" fields: \"seed\"\n  values: \"1\"\n  values: \"x\"\n}").status().message(),
            "c:7:3: n=x: seed: Expected integer, got: x");
  EXPECT_EQ(Expand("sweep { fields: \"steps[9].fold.check_images\" values: \"1\" }").status().message(),
            "c:4:46: value=1: steps[9].fold.check_images: there is no steps[9]: \"steps\" has 3 elements");
  EXPECT_EQ(Expand("sweep { fields: \"output_dir\" values: \"a/b\" values: \"a b\" }").status().message(),
            "c:4:44: sweep.values[1]: \"a b\" would be written to the file of an earlier value");
}

TEST(VariantFileName, KeepsWhatIsHarmless) {
  EXPECT_EQ(VariantFileName("bits", "4"), "bits=4");
  EXPECT_EQ(VariantFileName("a b", "../{x: 1e-3}"), "a_b=..__x__1e-3_");
}

}  // namespace
}  // namespace lowbit
