#include "data/augment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "base/field_error.h"
#include "data/color.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using ColorOp = AugmentDraw::ColorOp;

AugmentOptions Nothing() {
  AugmentOptions options;
  options.crop_padding = 0;
  options.horizontal_flip = false;
  options.brightness = options.contrast = options.saturation = options.hue = 0.0;
  return options;
}

// ---- Carrying out ----

// A row and its continuation by `padding` on both sides, spelled out: abcd by 2 is cb abcd cb.
std::vector<int> MirroredPositions(int size, int padding) {
  std::vector<int> positions;
  for (int i = padding; i >= 1; --i) positions.push_back(i);
  for (int i = 0; i < size; ++i) positions.push_back(i);
  for (int i = 1; i <= padding; ++i) positions.push_back(size - 1 - i);
  return positions;
}

// The slow version: makes the whole image with its border, then cuts.
std::vector<uint8_t> CropFlip(const AugmentDraw& draw, const ImageShape& shape, const std::vector<uint8_t>& image) {
  const std::vector<int> rows = MirroredPositions(shape.height, draw.crop_padding);
  const std::vector<int> columns = MirroredPositions(shape.width, draw.crop_padding);
  std::vector<uint8_t> result;
  for (int c = 0; c < shape.channels; ++c) {
    for (int y = 0; y < shape.height; ++y) {
      for (int x = 0; x < shape.width; ++x) {
        const int column = columns[draw.left + (draw.flip ? shape.width - 1 - x : x)];
        result.push_back(image[(c * shape.height + rows[draw.top + y]) * shape.width + column]);
      }
    }
  }
  return result;
}

// Every value is another one.
std::vector<uint8_t> Distinct(const ImageShape& shape) {
  std::vector<uint8_t> image(static_cast<size_t>(shape.size()));
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<uint8_t>(i);
  return image;
}

TEST(ApplyAugmentTest, EveryWindowIsThatOfTheMirroredImage) {
  const ImageShape shape = {2, 5, 7};
  std::vector<uint8_t> scratch;
  AugmentDraw draw;
  for (const int padding : {0, 1, 4}) {  // 4 is the most that 5 rows can give.
    draw.crop_padding = padding;
    for (draw.top = 0; draw.top <= 2 * padding; ++draw.top) {
      for (draw.left = 0; draw.left <= 2 * padding; ++draw.left) {
        for (const bool flip : {false, true}) {
          draw.flip = flip;
          std::vector<uint8_t> image = Distinct(shape);
          ApplyAugment(draw, shape, image.data(), &scratch);
          EXPECT_EQ(image, CropFlip(draw, shape, Distinct(shape)))
              << "padding " << padding << ", top " << draw.top << ", left " << draw.left << ", flip " << flip;
        }
      }
    }
  }
}

TEST(ApplyAugmentTest, CornersByHand) {
  // 0 1 2
  // 3 4 5
  // 6 7 8
  const ImageShape shape = {1, 3, 3};
  std::vector<uint8_t> scratch;
  const auto window = [&](int top, int left, bool flip) {
    AugmentDraw draw;
    draw.crop_padding = 2;
    draw.top = top;
    draw.left = left;
    draw.flip = flip;
    std::vector<uint8_t> image = Distinct(shape);
    ApplyAugment(draw, shape, image.data(), &scratch);
    return image;
  };
  EXPECT_THAT(window(2, 2, false), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(window(2, 2, true), ElementsAre(2, 1, 0, 5, 4, 3, 8, 7, 6));
  EXPECT_THAT(window(0, 0, false), ElementsAre(8, 7, 6, 5, 4, 3, 2, 1, 0));
  EXPECT_THAT(window(1, 1, false), ElementsAre(4, 3, 4, 1, 0, 1, 4, 3, 4));
  EXPECT_THAT(window(0, 2, false), ElementsAre(6, 7, 8, 3, 4, 5, 0, 1, 2));
  EXPECT_THAT(window(4, 2, false), ElementsAre(6, 7, 8, 3, 4, 5, 0, 1, 2));
  EXPECT_THAT(window(2, 3, false), ElementsAre(1, 2, 1, 4, 5, 4, 7, 8, 7));
  EXPECT_THAT(window(2, 3, true), ElementsAre(1, 2, 1, 4, 5, 4, 7, 8, 7));
  EXPECT_THAT(window(4, 4, true), ElementsAre(6, 7, 8, 3, 4, 5, 0, 1, 2));
}

TEST(ApplyAugmentTest, ColorOperationsComeInTheDrawnOrder) {
  const ImageShape shape = {3, 4, 4};
  AugmentDraw draw;
  draw.brightness = 1.9;
  draw.contrast = 0.5;
  draw.saturation = 1.6;
  draw.hue = 0.3;
  draw.color_ops = {ColorOp::kHue, ColorOp::kBrightness, ColorOp::kSaturation, ColorOp::kContrast};
  std::vector<uint8_t> scratch;
  std::vector<uint8_t> wanted = Distinct(shape);
  const auto apply = [&](int count) {
    std::vector<uint8_t> image = Distinct(shape);
    draw.color_op_count = count;
    ApplyAugment(draw, shape, image.data(), &scratch);
    return image;
  };
  EXPECT_EQ(apply(0), wanted);
  AdjustHue(0.3, 16, wanted.data());
  EXPECT_EQ(apply(1), wanted);
  AdjustBrightness(1.9, 16, wanted.data());
  EXPECT_EQ(apply(2), wanted);
  AdjustSaturation(1.6, 16, wanted.data());
  EXPECT_EQ(apply(3), wanted);
  AdjustContrast(0.5, 16, wanted.data());
  EXPECT_EQ(apply(4), wanted);
}

TEST(ApplyAugmentTest, ColorFollowsTheCrop) {
  // The mean that contrast starts from is the window's, not the image's: 4 dark columns of 8 become 7.
  const ImageShape shape = {3, 2, 8};
  std::vector<uint8_t> image(48);
  for (int i = 0; i < 48; ++i) image[i] = i % 8 < 4 ? 0 : 160;
  AugmentDraw draw;
  draw.crop_padding = 1;
  draw.top = 1;
  draw.left = 0;  // 0 0 0 0 0 160 160 160
  draw.contrast = 0.0;
  draw.color_ops = {ColorOp::kContrast};
  draw.color_op_count = 1;
  std::vector<uint8_t> scratch;
  ApplyAugment(draw, shape, image.data(), &scratch);
  EXPECT_THAT(image, testing::Each(60));
}

// ---- Drawing ----

TEST(DrawAugmentTest, DependsOnSeedEpochAndIndexOnly) {
  const auto text = [](const AugmentDraw& draw) {
    std::string result = std::to_string(draw.top) + " " + std::to_string(draw.left) + (draw.flip ? " flip" : "");
    for (const double value : {draw.brightness, draw.contrast, draw.saturation, draw.hue}) {
      result += " " + std::to_string(value);
    }
    for (const ColorOp op : draw.color_ops) result += " " + std::to_string(static_cast<int>(op));
    return result;
  };
  const AugmentOptions options;
  std::set<std::string> texts;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    for (uint64_t epoch = 0; epoch < 5; ++epoch) {
      for (uint64_t index = 0; index < 5; ++index) {
        const std::string first = text(DrawAugment(options, seed, epoch, index));
        DrawAugment(options, seed, epoch, index + 1);
        EXPECT_EQ(text(DrawAugment(options, seed, epoch, index)), first);
        texts.insert(first);
      }
    }
  }
  EXPECT_EQ(texts.size(), 125u);  // (1, 2, 3) is another draw than (3, 2, 1).
}

TEST(DrawAugmentTest, CoversItsRanges) {
  const AugmentOptions options;
  constexpr int kDraws = 4000;
  std::set<int> tops, lefts;
  std::set<std::array<ColorOp, 4>> orders;
  int flips = 0;
  double lowest[] = {9, 9, 9, 9}, highest[] = {-9, -9, -9, -9};
  for (int i = 0; i < kDraws; ++i) {
    const AugmentDraw draw = DrawAugment(options, 1, 2, i);
    EXPECT_EQ(draw.crop_padding, 4);
    EXPECT_EQ(draw.color_op_count, 4);
    tops.insert(draw.top);
    lefts.insert(draw.left);
    orders.insert(draw.color_ops);
    flips += draw.flip;
    const double values[] = {draw.brightness, draw.contrast, draw.saturation, draw.hue};
    for (int v = 0; v < 4; ++v) {
      lowest[v] = std::min(lowest[v], values[v]);
      highest[v] = std::max(highest[v], values[v]);
    }
  }
  EXPECT_THAT(tops, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(lefts, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(orders.size(), 24u);
  EXPECT_NEAR(flips, kDraws / 2, 4 * std::sqrt(kDraws / 4.0));  // Four standard deviations.
  for (int v = 0; v < 3; ++v) {
    EXPECT_GE(lowest[v], 0.7);
    EXPECT_LT(lowest[v], 0.705);
    EXPECT_LE(highest[v], 1.3);
    EXPECT_GT(highest[v], 1.295);
  }
  EXPECT_GE(lowest[3], -0.01);
  EXPECT_LT(lowest[3], -0.0098);
  EXPECT_LE(highest[3], 0.01);
  EXPECT_GT(highest[3], 0.0098);
}

TEST(DrawAugmentTest, FactorsAreNeverNegative) {
  AugmentOptions options;
  options.brightness = options.contrast = options.saturation = 3.0;
  double lowest = 9, highest = 0;
  for (int i = 0; i < 1000; ++i) {
    const AugmentDraw draw = DrawAugment(options, 0, 0, i);
    for (const double factor : {draw.brightness, draw.contrast, draw.saturation}) {
      EXPECT_GE(factor, 0.0);
      EXPECT_LE(factor, 4.0);
      lowest = std::min(lowest, factor);
      highest = std::max(highest, factor);
    }
  }
  EXPECT_LT(lowest, 0.05);
  EXPECT_GT(highest, 3.95);
}

TEST(DrawAugmentTest, TurningOneOperationOffLeavesTheOthers) {
  AugmentOptions options;
  options.horizontal_flip = false;
  options.contrast = 0.0;
  int flips = 0;
  for (int i = 0; i < 100; ++i) {
    const AugmentDraw all = DrawAugment(AugmentOptions(), 5, 6, i);
    const AugmentDraw some = DrawAugment(options, 5, 6, i);
    flips += all.flip;
    EXPECT_FALSE(some.flip);
    EXPECT_EQ(some.contrast, 1.0);
    EXPECT_EQ(some.top, all.top);
    EXPECT_EQ(some.left, all.left);
    EXPECT_EQ(some.brightness, all.brightness);
    EXPECT_EQ(some.saturation, all.saturation);
    EXPECT_EQ(some.hue, all.hue);
    std::vector<ColorOp> wanted(all.color_ops.begin(), all.color_ops.end());
    wanted.erase(std::find(wanted.begin(), wanted.end(), ColorOp::kContrast));
    EXPECT_EQ(std::vector<ColorOp>(some.color_ops.begin(), some.color_ops.begin() + some.color_op_count), wanted);
  }
  EXPECT_GT(flips, 0);
}

TEST(DrawAugmentTest, NothingIsTheIdentity) {
  const ImageShape shape = {3, 4, 4};
  std::vector<uint8_t> scratch;
  for (int i = 0; i < 20; ++i) {
    const AugmentDraw draw = DrawAugment(Nothing(), 1, 1, i);
    EXPECT_EQ(draw.color_op_count, 0);
    std::vector<uint8_t> image = Distinct(shape);
    ApplyAugment(draw, shape, image.data(), &scratch);
    EXPECT_EQ(image, Distinct(shape));
  }
}

// ---- Checks ----

constexpr ImageShape kColorShape = {3, 32, 32};

TEST(ValidateAugmentTest, AcceptsTheEdges) {
  EXPECT_TRUE(ValidateAugment(AugmentOptions(), kColorShape).ok());
  EXPECT_TRUE(ValidateAugment(Nothing(), {1, 1, 1}).ok());
  AugmentOptions options;
  options.hue = 0.5;
  options.brightness = 1000.0;
  options.crop_padding = 31;
  EXPECT_TRUE(ValidateAugment(options, {3, 32, 40}).ok());
}

TEST(ValidateAugmentTest, JitterWantsThreeChannels) {
  AugmentOptions options = Nothing();
  options.crop_padding = 4;
  options.horizontal_flip = true;
  EXPECT_TRUE(ValidateAugment(options, {1, 32, 32}).ok());
  options.saturation = 0.1;
  const absl::Status status = ValidateAugment(options, {1, 32, 32});
  EXPECT_EQ(ErrorField(status), "saturation");
  EXPECT_EQ(status.message(), "colour jitter wants images of 3 channels, these have 1");
}

struct BadOption {
  std::string field, message;
  void (*change)(AugmentOptions&);
};

class ValidateAugmentErrorTest : public testing::TestWithParam<BadOption> {};

TEST_P(ValidateAugmentErrorTest, NamesTheField) {
  AugmentOptions options;
  GetParam().change(options);
  const absl::Status status = ValidateAugment(options, {3, 32, 40});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(status), GetParam().field);
  EXPECT_EQ(status.message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, ValidateAugmentErrorTest,
    testing::Values(
        BadOption{"crop_padding", "must be in [0, 31] for images of 32x40, got 32",
                  [](AugmentOptions& o) { o.crop_padding = 32; }},
        BadOption{"crop_padding", "must be in [0, 31] for images of 32x40, got -1",
                  [](AugmentOptions& o) { o.crop_padding = -1; }},
        BadOption{"brightness", "must be at least 0, got -0.1", [](AugmentOptions& o) { o.brightness = -0.1; }},
        BadOption{"contrast", "must be at least 0, got nan", [](AugmentOptions& o) { o.contrast = std::nan(""); }},
        BadOption{"saturation", "must be at least 0, got -1", [](AugmentOptions& o) { o.saturation = -1; }},
        // The colour operations compute in single precision, where infinity times a black pixel is no number.
        BadOption{"brightness", "must be finite in single precision, got inf",
                  [](AugmentOptions& o) { o.brightness = std::numeric_limits<double>::infinity(); }},
        BadOption{"saturation", "must be finite in single precision, got 1e+39",
                  [](AugmentOptions& o) { o.saturation = 1e39; }},
        BadOption{"hue", "must be in [0, 0.5], got 0.51", [](AugmentOptions& o) { o.hue = 0.51; }},
        BadOption{"hue", "must be in [0, 0.5], got -0.01", [](AugmentOptions& o) { o.hue = -0.01; }}));

}  // namespace
}  // namespace lowbit
