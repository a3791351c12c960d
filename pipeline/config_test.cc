#include "pipeline/config.h"

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

constexpr char kText[] = R"(seed: 3
steps { fold {} }
steps {
  quantize {
    rules {
      weights {
        quantizer {
          name: "min_max" bits: 12
          options { [type.googleapis.com/lowbit.MinMaxOptions] { min_scale: 0.5 } }
        }
      }
    }
  }
}
sweep { values: ["2", "4"] }
)";

Config Example() {
  auto config = Config::Parse(kText, "configs/x.textproto");
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

std::string Origin(const Config& config, const std::string& path) { return config.Origin(*ParseFieldPath(path)); }

TEST(Config, KnowsWhereEachFieldIs) {
  const Config config = Example();
  EXPECT_EQ(config.proto().seed(), 3u);
  EXPECT_EQ(config.base_name(), "x");
  EXPECT_EQ(Origin(config, "seed"), "configs/x.textproto:1:1");
  const std::string quantizer = "steps[1].quantize.rules[0].weights.quantizer";
  EXPECT_EQ(Origin(config, quantizer + ".bits"), "configs/x.textproto:8:27");
  EXPECT_EQ(Origin(config, quantizer + ".options.min_scale"), "configs/x.textproto:9:66");
  EXPECT_EQ(Origin(config, "sweep[0].values[1]"), "configs/x.textproto:15:9");
}

TEST(Config, WhatIsNotThereIsWhereItWouldBe) {
  const Config config = Example();
  EXPECT_EQ(Origin(config, "threads"), "configs/x.textproto");
  EXPECT_EQ(Origin(config, "steps[0].fold.check_images"), "configs/x.textproto:2:9");
  EXPECT_EQ(Origin(config, "steps[7].fold"), "configs/x.textproto");
  EXPECT_EQ(Origin(config, "steps[1].quantize.rules[0].weights.quantizer.options.nothing"), "configs/x.textproto:9:11");
}

TEST(Config, LocatesErrors) {
  Config config = Example();
  const std::string bits = "steps[1].quantize.rules[0].weights.quantizer.bits";
  const absl::Status error = FieldError(bits, "must be 1 to 8, or 16; got 12");
  EXPECT_EQ(config.Locate(error).message(), "configs/x.textproto:8:27: " + bits + ": must be 1 to 8, or 16; got 12");
  EXPECT_EQ(config.Locate(absl::NotFoundError("gone")).message(), "configs/x.textproto: gone");
  EXPECT_TRUE(absl::IsNotFound(config.Locate(absl::NotFoundError("gone"))));
  EXPECT_TRUE(config.Locate(absl::OkStatus()).ok());
}

TEST(Config, AnOverrideIsTheOriginFromThenOn) {
  Config config = Example();
  const std::string bits = "steps[1].quantize.rules[0].weights.quantizer.bits";
  ASSERT_TRUE(config.Set(bits, "9", "--set " + bits + "=9").ok());
  EXPECT_EQ(config.proto().steps(1).quantize().rules(0).weights().quantizer().bits(), 9);
  EXPECT_EQ(config.Locate(FieldError(bits, "got 9")).message(), "--set " + bits + "=9: got 9");
  // A whole message: its fields come from there too.
  ASSERT_TRUE(config.Set("steps[1]", "{ fold { check_images: -1 } }", "--set steps[1]={...}").ok());
  EXPECT_EQ(config.Locate(FieldError("steps[1].fold.check_images", "got -1")).message(),
            "--set steps[1]={...}: steps[1].fold.check_images: got -1");
}

TEST(Config, AnOverrideThatDoesNotWorkNamesItself) {
  Config config = Example();
  EXPECT_EQ(config.Set("seed", "x", "--set seed=x").message(), "--set seed=x: Expected integer, got: x");
  EXPECT_EQ(config.Set("steps[0].fold.check_images", "x", "configs/x.textproto:15:9: images=x").message(),
            "configs/x.textproto:15:9: images=x: steps[0].fold.check_images: Expected integer, got: x");
  EXPECT_EQ(config.Set("a b", "x", "--set a b=x").message(),
            "--set a b=x: \"a b\" is no field path; it should look like steps[3].evaluate.max_images");
}

// What the parser says, with position and path.
std::string ParseError(const std::string& text) { return std::string(Config::Parse(text, "c").status().message()); }

TEST(Config, ParseErrorsHavePositionAndField) {
  EXPECT_EQ(ParseError("steps {\n  fold { check_image: 3 }\n}"),
            "c:2:10: steps[0].fold.check_image: unknown FoldStep field \"check_image\"; did you mean \"check_images\"? "
            "(known: check_images)");
  EXPECT_EQ(ParseError("steps { evaluate { max_images: \"all\" } }"),
            "c:1:32: steps[0].evaluate.max_images: Expected integer, got: \"all\"");
  EXPECT_EQ(ParseError("seed: 1\nseed: 2"), "c:2:1: seed: Non-repeated field \"seed\" is specified multiple times.");
  EXPECT_EQ(
      ParseError("steps { fold {} evaluate {} }"),
      "c:1:17: steps[0].evaluate: Field \"evaluate\" is specified along with field \"fold\", another member of oneof "
      "\"kind\".");
  EXPECT_EQ(ParseError("steps { fold {"), "c:1:15: steps[0].fold: Expected identifier, got: the end of the text");
  EXPECT_THAT(ParseError("steps { quantize { rules { weights { quantizer { options {\n"
                         "  [type.googleapis.com/lowbit.MinMaxOption] {}"),
              testing::StartsWith("c:2:3: steps[0].quantize.rules[0].weights.quantizer.options: unknown options "
                                  "message \"lowbit.MinMaxOption\"; did you mean \"lowbit.MinMaxOptions\"? (known: "));
  EXPECT_EQ(ParseError("steps { quantize { rules { weights { quantizer { options {\n"
                       "  [type.googleapis.com/lowbit.MinMaxOptions] { scale: 1 }"),
            "c:2:48: steps[0].quantize.rules[0].weights.quantizer.options.scale: unknown MinMaxOptions field \"scale\" "
            "(known: min_scale)");
  EXPECT_EQ(ParseError("\"seed\": 1"), "c:1:1: Expected identifier, got: \"seed\"");
}

}  // namespace
}  // namespace lowbit
