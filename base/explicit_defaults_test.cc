#include "base/explicit_defaults.h"

#include "base/explicit_defaults_test.pb.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using explicit_defaults_test::Leaf;
using explicit_defaults_test::Numbers;
using explicit_defaults_test::Tree;

template <class Message>
Message Parsed(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// `message` afterwards, on one line.
std::string Spelled(google::protobuf::Message&& message) {
  SetDefaultsExplicitly(message);
  return message.ShortDebugString();
}

TEST(SetDefaultsExplicitlyTest, EveryKindOfField) {
  EXPECT_EQ(Spelled(Numbers()),
            "i32: -3 i64: -5000000000 u32: 4000000000 u64: 10000000000000000000 f64: 0.125 f32: 2.5 truth: true "
            "color: GREEN text: \"a b\" raw: \"\\001\" plain: 0");
}

TEST(SetDefaultsExplicitlyTest, WhatIsSetStays) {
  // Also where it is the zero that an unset field would have.
  EXPECT_EQ(Spelled(Parsed<Numbers>("i32: 0 truth: false color: RED text: '' f32: 1")),
            "i32: 0 i64: -5000000000 u32: 4000000000 u64: 10000000000000000000 f64: 0.125 f32: 1 truth: false "
            "color: RED text: \"\" raw: \"\\001\" plain: 0");
}

TEST(SetDefaultsExplicitlyTest, MessagesThatAreNotSetStayAway) { EXPECT_EQ(Spelled(Tree()), ""); }

TEST(SetDefaultsExplicitlyTest, GoesDownIntoMessagesThatAreSet) {
  EXPECT_EQ(Spelled(Parsed<Tree>("one {}")), "one { size: 7 }");
  EXPECT_EQ(Spelled(Parsed<Tree>("many {} many { size: 1 } many {}")),
            "many { size: 7 } many { size: 1 } many { size: 7 }");
  EXPECT_EQ(Spelled(Parsed<Tree>("below { below { one {} } }")), "below { below { one { size: 7 } } }");
  EXPECT_EQ(Spelled(Parsed<Tree>("named { key: 'a' value {} }")), "named { key: \"a\" value { size: 7 } }");
}

TEST(SetDefaultsExplicitlyTest, RepeatedNumbersStayAsTheyAre) {
  EXPECT_EQ(Spelled(Parsed<Tree>("numbers: [4, 0]")), "numbers: 4 numbers: 0");
}

TEST(SetDefaultsExplicitlyTest, MembersOfAOneofAreNotChosen) {
  Tree tree;
  SetDefaultsExplicitly(tree);
  EXPECT_EQ(tree.choice_case(), Tree::CHOICE_NOT_SET);
  EXPECT_EQ(Spelled(Parsed<Tree>("number: 1")), "number: 1");
  EXPECT_EQ(Spelled(Parsed<Tree>("color: RED")), "color: RED");
  // The message that was chosen is filled in, as any other.
  EXPECT_EQ(Spelled(Parsed<Tree>("leaf {}")), "leaf { size: 7 }");
}

TEST(SetDefaultsExplicitlyTest, TwiceIsOnce) {
  Numbers numbers;
  SetDefaultsExplicitly(numbers);
  const std::string once = numbers.SerializeAsString();
  SetDefaultsExplicitly(numbers);
  EXPECT_EQ(numbers.SerializeAsString(), once);
}

TEST(CanonicalTextTest, OneLineWithDefaults) {
  EXPECT_EQ(CanonicalText(Parsed<Tree>("one {} numbers: 4")), "one { size: 7 } numbers: 4 ");
  EXPECT_EQ(CanonicalText(Tree()), "");
}

TEST(CanonicalTextTest, SameMeaningSameText) {
  EXPECT_EQ(CanonicalText(Numbers()), CanonicalText(Parsed<Numbers>("i32: -3 truth: true")));
  EXPECT_EQ(CanonicalText(Parsed<Tree>("numbers: [1, 2] one {}")),
            CanonicalText(Parsed<Tree>("one { size: 7 } numbers: [1, 2]")));
  EXPECT_EQ(CanonicalText(Parsed<Tree>("named { key: 'b' value {} } named { key: 'a' value { size: 1 } }")),
            CanonicalText(Parsed<Tree>("named { key: 'a' value { size: 1 } } named { key: 'b' value { size: 7 } }")));
}

TEST(CanonicalTextTest, AnotherMeaningAnotherText) {
  EXPECT_NE(CanonicalText(Numbers()), CanonicalText(Parsed<Numbers>("i32: 0")));
  EXPECT_NE(CanonicalText(Tree()), CanonicalText(Parsed<Tree>("one {}")));
  EXPECT_NE(CanonicalText(Tree()), CanonicalText(Parsed<Tree>("number: 9")));
  EXPECT_NE(CanonicalText(Parsed<Tree>("numbers: [1, 2]")), CanonicalText(Parsed<Tree>("numbers: [2, 1]")));
}

TEST(CanonicalTextTest, LeavesTheMessageAlone) {
  const Leaf leaf;
  EXPECT_EQ(CanonicalText(leaf), "size: 7 ");
  EXPECT_FALSE(leaf.has_size());
}

}  // namespace
}  // namespace lowbit
