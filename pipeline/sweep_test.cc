#include "pipeline/sweep.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

absl::StatusOr<Sweep> Expand(const std::string& sweep) {
  const auto config = Config::Parse("steps { fold {} }\nsteps { calibrate {} }\nsteps { evaluate {} }\n" + sweep, "c");
  EXPECT_TRUE(config.ok()) << config.status();
  return ExpandSweep(*config);
}

std::string Message(const std::string& sweep) { return std::string(Expand(sweep).status().message()); }

// "fold/calibrate/evaluate" images of each variant.
std::vector<std::string> Images(const Sweep& sweep) {
  std::vector<std::string> images;
  for (const SweepVariant& variant : sweep.variants) {
    const PipelineConfig& config = variant.config.proto();
    images.push_back(absl::StrCat(config.steps(0).fold().check_images(), "/", config.steps(1).calibrate().num_images(),
                                  "/", config.steps(2).evaluate().max_images()));
  }
  return images;
}

TEST(ExpandSweep, WithoutASweepThereIsOneVariant) {
  const auto sweep = Expand("");
  ASSERT_TRUE(sweep.ok());
  ASSERT_EQ(sweep->variants.size(), 1u);
  EXPECT_TRUE(sweep->axes.empty());
  EXPECT_TRUE(sweep->variants[0].choice.empty());
}

TEST(ExpandSweep, EachValueIsGivenToAllFields) {
  const auto sweep = Expand(R"(sweep {
    fields: ["steps[2].evaluate.max_images", "steps[1].calibrate.num_images"] values: ["10", "20"] })");
  ASSERT_TRUE(sweep.ok()) << sweep.status();
  EXPECT_THAT(Images(*sweep), ElementsAre("1000/10/10", "1000/20/20"));
  EXPECT_THAT(sweep->axes[0].values, ElementsAre("10", "20"));
  EXPECT_EQ(sweep->axes[0].first_step, 1);
}

TEST(ExpandSweep, EveryCombinationOfSeveralInOrderAndTheLaterOneDecides) {
  const auto sweep = Expand(R"(
    sweep {
      column: "a"
      cases { name: "x" set { fields: "steps[1].calibrate.num_images" value: "1" } }
      cases {
        name: "y"
        set { fields: ["steps[1].calibrate.num_images", "steps[2].evaluate.max_images"] value: "2" }
        set { fields: "steps[1].calibrate.num_images" value: "3" }
      }
    }
    sweep {
      column: "b"
      cases { name: "as it is" }
      cases { name: "few" set { fields: "steps[2].evaluate.max_images" value: "7" } }
    }
    sweep { column: "c" fields: "steps[0].fold.check_images" values: ["5", "6"] })");
  ASSERT_TRUE(sweep.ok()) << sweep.status();
  EXPECT_THAT(Images(*sweep), ElementsAre("5/1/0", "6/1/0", "5/1/7", "6/1/7", "5/3/2", "6/3/2", "5/3/7", "6/3/7"));
  EXPECT_THAT(sweep->variants[5].choice, ElementsAre(1, 0, 1));
  EXPECT_EQ(sweep->axes[0].first_step, 1);
  EXPECT_EQ(sweep->axes[1].first_step, 2);
  EXPECT_EQ(sweep->axes[2].first_step, 0);
  EXPECT_THAT(sweep->axes[1].values, ElementsAre("as it is", "few"));
}

TEST(ExpandSweep, TheModelComesBeforeTheFirstStepAndTheSeedIsForTheStepsToSay) {
  const auto sweep = Expand(R"(sweep { column: "seed" fields: "seed" values: ["1", "2"] }
                               sweep { column: "depth" fields: "model.resnet_cifar.depth" values: "20" })");
  ASSERT_TRUE(sweep.ok()) << sweep.status();
  EXPECT_TRUE(sweep->axes[0].touches_seed);
  EXPECT_EQ(sweep->axes[0].first_step, 3);
  EXPECT_FALSE(sweep->axes[1].touches_seed);
  EXPECT_EQ(sweep->axes[1].first_step, -1);
}

constexpr char kTwo[] = R"(
sweep { column: "a" fields: "steps[1].calibrate.num_images" values: ["1", "2", "3"] }
sweep { column: "b" fields: "steps[2].evaluate.max_images" values: ["4", "5"] }
sweep { column: "c" fields: "steps[0].fold.check_images" values: ["6", "7"] }
)";

TEST(ExpandSweep, ExceptLeavesCombinationsOut) {
  const auto sweep = Expand(absl::StrCat(kTwo, R"(
    except { when { column: "a" values: ["1", "3"] } when { column: "b" values: "5" } }
    except { when { column: "a" values: "2" } when { column: "c" values: "7" } })"));
  ASSERT_TRUE(sweep.ok()) << sweep.status();
  EXPECT_THAT(Images(*sweep), ElementsAre("6/1/4", "7/1/4", "6/2/4", "6/2/5", "6/3/4", "7/3/4"));
  EXPECT_EQ(sweep->left_out, 6);
}

TEST(ExpandSweep, WhatIsLeftOutNeedNotBePossible) {
  const std::string sweeps = R"(
sweep { column: "step" fields: "steps[1]" values: ["{ calibrate {} }", "{ summary {} }"] }
sweep { column: "images" fields: "steps[1].calibrate.num_images" values: ["1", "2"] }
sweep { column: "seed" fields: "seed" values: ["1", "2"] }
)";
  EXPECT_EQ(Message(sweeps),
            "c:6:66: images=1: steps[1].calibrate.num_images: there is \"summary\", not \"calibrate\"");
  const auto sweep = Expand(sweeps + "except { when { column: \"step\" values: \"{ summary {} }\" } }");
  ASSERT_TRUE(sweep.ok()) << sweep.status();
  EXPECT_EQ(sweep->variants.size(), 4u);
  EXPECT_EQ(sweep->left_out, 4);
}

TEST(ExpandSweep, ErrorsSayWhere) {
  EXPECT_EQ(Message("sweep { values: \"1\" }"), "c:4:1: sweep[0]: has no fields to give the values to");
  EXPECT_EQ(Message("sweep { fields: \"seed\" }"), "c:4:1: sweep[0]: has no values");
  EXPECT_EQ(Message("sweep { fields: \"threads\" values: \"1\" }"),
            "c:4:9: sweep[0].fields[0]: \"threads\" cannot be swept; fields of steps[...] and model can, and seed");
  EXPECT_EQ(Message("sweep {\n  column: \"n\" fields: \"seed\"\n  values: \"1\"\n  values: \"x\"\n}"),
            "c:7:3: n=x: seed: Expected integer, got: x");
  EXPECT_EQ(Message("sweep { fields: \"steps[9].fold.check_images\" values: \"1\" }"),
            "c:4:46: value=1: steps[9].fold.check_images: there is no steps[9]: \"steps\" has 3 elements");
  EXPECT_EQ(Message("sweep { fields: \"seed\" values: \"a/b\" values: \"a b\" }"),
            "c:4:38: sweep[0].values[1]: \"a b\" would be written to the file of an earlier value");
  EXPECT_EQ(Message("sweep { fields: \"seed\" values: \"\" }"), "c:4:24: sweep[0].values[0]: is empty");
  EXPECT_EQ(Message("sweep { column: \"\" fields: \"seed\" values: \"1\" }"), "c:4:9: sweep[0].column: is empty");
  EXPECT_EQ(
      Message(absl::StrCat("sweep { fields: \"seed\" values: \"", std::string(195, '1'), "\" }")),
      "c:4:1: sweep[0]: its column and values make names of files of 201 characters; there may be 200. Cases give "
      "values a shorter name");
}

TEST(ExpandSweep, ErrorsOfCasesSayWhere) {
  EXPECT_EQ(Message("sweep {\n  cases { name: \"a\" set { fields: \"seed\" value: \"x\" } }\n}"),
            "c:5:42: value=a: seed: Expected integer, got: x");
  EXPECT_EQ(Message("sweep { cases { name: \"a\" set { fields: \"sede\" value: \"1\" } } }"),
            "c:4:33: sweep[0].cases[0].set[0].fields[0]: \"sede\" cannot be swept; fields of steps[...] and model can, "
            "and seed");
  EXPECT_EQ(Message("sweep { cases { name: \"a\" set { fields: \"seed\" } } }"),
            "c:4:27: sweep[0].cases[0].set[0]: has no value");
  EXPECT_EQ(Message("sweep { cases { name: \"a\" set { fields: \"seed\" value: \"1\" } } cases { name: \"a\" } }"),
            "c:4:71: sweep[0].cases[1].name: \"a\" would be written to the file of an earlier value");
}

TEST(ForEachSweptField, GoesThroughFieldsAndCases) {
  const auto config = Config::Parse(
      "sweep { fields: [\"a\", \"b\"] } sweep { cases { set { fields: \"c\" } set { fields: \"d\" } } }", "c");
  std::vector<std::string> fields;
  ForEachSweptField(config->proto(), [&](const std::string& field) { fields.push_back(field); });
  EXPECT_THAT(fields, ElementsAre("a", "b", "c", "d"));
}

TEST(LabelOf, OfOneSweepIsTheValueAndOfSeveralNamesTheColumns) {
  const SweepAxis bits{"bits", {"2", "4"}, 0, false};
  const SweepAxis odd{"a b", {"../{x: 1e-3}"}, 0, false};
  const auto label = [](const VariantLabel& l) { return absl::StrCat(l.text, " | ", l.file); };
  EXPECT_EQ(label(LabelOf({bits}, {1}, {true})), "4 | bits=4");
  EXPECT_EQ(label(LabelOf({bits}, {1}, {false})), " | ");
  EXPECT_EQ(label(LabelOf({odd}, {0}, {true})), "../{x: 1e-3} | a_b=..__x__1e-3_");
  EXPECT_EQ(label(LabelOf({bits, odd}, {0, 0}, {true, true})), "bits=2,a b=../{x: 1e-3} | bits=2,a_b=..__x__1e-3_");
  EXPECT_EQ(label(LabelOf({bits, odd}, {0, 0}, {true, false})), "bits=2 | bits=2");
}

}  // namespace
}  // namespace lowbit
