#include "model/name_mapping.h"

#include <string>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using Names = std::map<std::string, std::string>;

Names Apply(const std::vector<NameMapping::Rule>& rules, const std::vector<std::string>& names) {
  const auto mapping = NameMapping::Create(rules);
  EXPECT_TRUE(mapping.ok()) << mapping.status();
  const auto result = mapping->Apply(names);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : Names();
}

// "<field>: <message>" of the first error.
std::string Refusal(const std::vector<NameMapping::Rule>& rules, const std::vector<std::string>& names = {}) {
  const auto mapping = NameMapping::Create(rules);
  const absl::Status status = mapping.ok() ? mapping->Apply(names).status() : mapping.status();
  return ErrorField(status).value_or("(none)") + ": " + std::string(status.message());
}

TEST(NameMappingTest, WithoutRulesEveryNameStays) {
  EXPECT_EQ(Apply({}, {"b", "a"}), (Names{{"a", "a"}, {"b", "b"}}));
  EXPECT_EQ(*NameMapping().Apply({"a"}), (Names{{"a", "a"}}));
}

TEST(NameMappingTest, AWholeNameHasToMatchAndGroupsAreFilledIn) {
  EXPECT_EQ(Apply({{"fc\\.(.*)", "linear.\\1"}}, {"fc.weight", "net.fc.weight", "fc"}),
            (Names{{"fc.weight", "linear.weight"}, {"net.fc.weight", "net.fc.weight"}, {"fc", "fc"}}));
  EXPECT_EQ(Apply({{"(\\w)-(\\w)", "\\2\\1\\0\\\\"}}, {"x-y"}), (Names{{"x-y", "yxx-y\\"}}));
  // The shorter of two ways to match is not taken where only the longer one reaches the end.
  EXPECT_EQ(Apply({{"a|ab", "x"}}, {"ab"}), (Names{{"ab", "x"}}));
}

TEST(NameMappingTest, EachRuleIsAppliedToWhatTheOnesBeforeItLeft) {
  EXPECT_EQ(
      Apply({{"backbone\\.(.*)", "\\1"}, {"(.*)\\.downsample\\.(.*)", "\\1.shortcut.\\2"}, {"fc\\.(.*)", "linear.\\1"}},
            {"backbone.layer2.0.downsample.0.weight", "backbone.fc.bias", "fc.weight"}),
      (Names{{"backbone.layer2.0.downsample.0.weight", "layer2.0.shortcut.0.weight"},
             {"backbone.fc.bias", "linear.bias"},
             {"fc.weight", "linear.weight"}}));
  // Within a rule all names change at once.
  EXPECT_EQ(Apply({{"layer(\\d)", "layer1\\1"}}, {"layer1", "layer2"}),
            (Names{{"layer1", "layer11"}, {"layer2", "layer12"}}));
  EXPECT_EQ(Apply({{"(a*)", "\\1a"}}, {"a", "aa"}), (Names{{"a", "aa"}, {"aa", "aaa"}}));
}

TEST(NameMappingTest, WhatHasNoNewNameIsLeftOut) {
  EXPECT_EQ(Apply({{"optimizer\\..*", ""}}, {"optimizer.step", "a"}), (Names{{"a", "a"}}));
  EXPECT_EQ(Apply({{"drop(.*)", "\\1"}}, {"drop", "dropper"}), (Names{{"dropper", "per"}}));
}

TEST(NameMappingTest, RefusesWhatIsNoExpressionAndWhatCannotBeFilledIn) {
  EXPECT_EQ(Refusal({{"a", "b"}, {"a(b", "c"}}), "[1].from: \"a(b\" is no regular expression: missing ): a(b");
  EXPECT_EQ(Refusal({{"a)(b", "c"}}), "[0].from: \"a)(b\" is no regular expression: unexpected ): a)(b");
  EXPECT_EQ(Refusal({{"", "c"}}), "[0].from: is empty; it must match the whole name of a tensor");
  EXPECT_THAT(Refusal({{"a(b)", "\\2"}}), testing::StartsWith("[0].to: \"\\2\" cannot be filled in: "));
  EXPECT_THAT(Refusal({{"a(b)", "x\\"}}), testing::StartsWith("[0].to: \"x\\\" cannot be filled in: "));
}

TEST(NameMappingTest, ARuleHasToMatchWhenItsTurnComes) {
  EXPECT_EQ(Refusal({{"x", "y"}}, {"a", "b", "c", "d", "e"}),
            "[0].from: \"x\" matches none of the names of tensors; they are \"a\", \"b\", \"c\" and 2 more");
  EXPECT_EQ(Refusal({{"a", "b"}, {"a", "c"}}, {"a"}),
            "[1].from: \"a\" matches none of the names of tensors; they are \"b\"");
  EXPECT_EQ(Refusal({{"a", ""}, {".*", "c"}}, {"a"}),
            "[1].from: \".*\" matches none of the names of tensors; none are left");
}

TEST(NameMappingTest, TwoNamesMustNotBecomeOne) {
  EXPECT_EQ(Refusal({{"x", "y"}, {"b\n", "a"}}, {"a", "b\n", "x"}),
            "[1].to: the file's \"a\" and \"b\\n\" would both be called \"a\"");
}

}  // namespace
}  // namespace lowbit
