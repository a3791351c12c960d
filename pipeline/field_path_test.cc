#include "pipeline/field_path.h"

#include "gtest/gtest.h"
#include "pipeline/config.pb.h"

namespace lowbit {
namespace {

TEST(FieldPath, IsReadAndWritten) {
  const absl::StatusOr<FieldPath> path = ParseFieldPath("steps[12].quantize.rules[0].weights");
  ASSERT_TRUE(path.ok()) << path.status();
  ASSERT_EQ(path->size(), 4u);
  EXPECT_EQ((*path)[0].name, "steps");
  EXPECT_EQ((*path)[0].index, 12);
  EXPECT_EQ((*path)[1].index, -1);
  EXPECT_EQ(FieldPathToString(*path), "steps[12].quantize.rules[0].weights");
}

TEST(FieldPath, WhatIsNoPathIsRefused) {
  for (const char* text : {"", ".", "a.", "a[", "a[]", "a[x]", "a[1", "a[-1]", "a[1]b", "a b", "1a", "a[1][2]"}) {
    const absl::StatusOr<FieldPath> path = ParseFieldPath(text);
    ASSERT_FALSE(path.ok()) << text;
    EXPECT_EQ(path.status().message(),
              std::string("\"") + text + "\" is no field path; it should look like steps[3].evaluate.max_images");
  }
}

TEST(FieldPath, IsWithinComparesWholeElements) {
  const FieldPath rule = *ParseFieldPath("steps[1].quantize.rules[0]");
  EXPECT_TRUE(IsWithin(rule, rule));
  EXPECT_TRUE(IsWithin(rule, *ParseFieldPath("steps[1].quantize")));
  EXPECT_FALSE(IsWithin(rule, *ParseFieldPath("steps[1].quantize.rules[0].weights")));
  EXPECT_FALSE(IsWithin(rule, *ParseFieldPath("steps[0].quantize")));
}

TEST(FieldPath, FindFieldSuggests) {
  const auto field = FindField(*PipelineConfig::descriptor(), "stepz");
  EXPECT_EQ(field.status().message(),
            "unknown PipelineConfig field \"stepz\"; did you mean \"steps\"? (known: dataset, except, model, name, "
            "output_dir, save_models, seed, steps, sweep, table, tensorboard, threads)");
  EXPECT_EQ((*FindField(*PipelineConfig::descriptor(), "seed"))->number(), 5);
}

}  // namespace
}  // namespace lowbit
