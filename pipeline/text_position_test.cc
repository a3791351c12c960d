#include "pipeline/text_position.h"

#include "gtest/gtest.h"
#include "pipeline/config.pb.h"

namespace lowbit {
namespace {

// The position of `marker` in a text, and the text without it.
TextPosition At(std::string text, const std::string& marker = "@") {
  const size_t where = text.find(marker);
  text.erase(where, marker.size());
  int line = 0, column = 0;
  for (size_t i = 0; i < where; ++i) {
    column = text[i] == '\n' ? 0 : column + 1;
    line += text[i] == '\n';
  }
  return FindTextPosition(text, *PipelineConfig::descriptor(), line, column);
}

TEST(FindTextPosition, NamesTheFieldWhoseValueIsRead) {
  const TextPosition position = At("seed: 3\nsteps { fold {} }\nsteps {\n  evaluate { max_images: @abc }\n}\n");
  EXPECT_EQ(position.path, "steps[1].evaluate.max_images");
  EXPECT_EQ(position.line, 3);
  EXPECT_EQ(position.column, 25);
}

TEST(FindTextPosition, GoesBackToTheNameOfAFieldWithoutValue) {
  const TextPosition position = At("steps {\n  fold { nothing @: 3 }\n}\n");
  EXPECT_EQ(position.path, "steps[0].fold.nothing");
  EXPECT_EQ(position.line, 1);
  EXPECT_EQ(position.column, 9);
}

TEST(FindTextPosition, IsInTheMessageAfterAFieldEnded) {
  EXPECT_EQ(At("steps { evaluate { max_images: 3 @} }").path, "steps[0].evaluate");
  EXPECT_EQ(At("steps { evaluate { max_images: -3 @} }").path, "steps[0].evaluate");
  EXPECT_EQ(At("steps { evaluate { max_images: 3 } } @}").path, "");
}

TEST(FindTextPosition, CountsElementsOfLists) {
  EXPECT_EQ(At("sweep { values: [\"a\", @b] }").path, "sweep[0].values[1]");
  EXPECT_EQ(At("sweep { values: \"a\" values: @b }").path, "sweep[0].values[1]");
  EXPECT_EQ(At("steps: [{ fold {} }, { fold { x@ } }]").path, "steps[1].fold.x");
  EXPECT_EQ(At("steps: [{ fold {} }, @]").path, "steps[1]");
  EXPECT_EQ(At("steps: [{ fold {} }] steps { x@ }").path, "steps[1].x");
}

TEST(FindTextPosition, LooksThroughAny) {
  const std::string head = "steps { quantize { rules { weights { quantizer { options { ";
  EXPECT_EQ(At(head + "[type.googleapis.com/lowbit.EvaluateStep] { max_images: @x").path,
            "steps[0].quantize.rules[0].weights.quantizer.options.max_images");
  const TextPosition unknown = At(head + "[type.googleapis.com/lowbit.Nothing] @{ max_images: x");
  EXPECT_EQ(unknown.path, "steps[0].quantize.rules[0].weights.quantizer.options");
  EXPECT_EQ(unknown.column, static_cast<int>(head.size()));
}

TEST(FindTextPosition, CommentsAndStringsHideBraces) {
  EXPECT_EQ(At("# steps {\noutput_dir: \"a{b\" steps { fold { @").path, "steps[0].fold");
}

}  // namespace
}  // namespace lowbit
