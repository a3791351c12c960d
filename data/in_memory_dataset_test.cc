#include "data/in_memory_dataset.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

std::vector<uint8_t> Image(const Dataset& dataset, int64_t index, int32_t* label) {
  std::vector<uint8_t> chw(static_cast<size_t>(dataset.image_shape().size()));
  const absl::Status status = dataset.Get(index, chw.data(), label);
  EXPECT_TRUE(status.ok()) << status;
  return chw;
}

TEST(InMemoryDatasetTest, GivesBackWhatItWasGiven) {
  const auto dataset = InMemoryDataset::Create({2, 1, 2}, {1, 2, 3, 4, 250, 251, 252, 255}, {1, 0}, {"cat", "dog"});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 2);
  EXPECT_EQ((*dataset)->image_shape(), (ImageShape{2, 1, 2}));
  EXPECT_EQ((*dataset)->num_classes(), 2);
  EXPECT_THAT((*dataset)->class_names(), ElementsAre("cat", "dog"));
  int32_t label = -1;
  EXPECT_THAT(Image(**dataset, 0, &label), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(label, 1);
  EXPECT_THAT(Image(**dataset, 1, &label), ElementsAre(250, 251, 252, 255));
  EXPECT_EQ(label, 0);
}

TEST(InMemoryDatasetTest, AnIndexOutOfRangeWritesNothing) {
  const auto dataset = InMemoryDataset::Create({1, 1, 1}, {7, 8}, {0, 0}, {"only"});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  uint8_t value = 99;
  int32_t label = 99;
  EXPECT_EQ((*dataset)->Get(2, &value, &label), absl::OutOfRangeError("image 2 of a data set of 2"));
  EXPECT_EQ((*dataset)->Get(-1, &value, &label), absl::OutOfRangeError("image -1 of a data set of 2"));
  EXPECT_EQ(value, 99);
  EXPECT_EQ(label, 99);
}

TEST(InMemoryDatasetTest, MayBeEmpty) {
  const auto dataset = InMemoryDataset::Create({3, 2, 2}, {}, {}, {"a"});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 0);
}

TEST(InMemoryDatasetTest, RefusesWhatDoesNotAgree) {
  EXPECT_EQ(InMemoryDataset::Create({1, 2, 2}, {1, 2, 3, 4, 5}, {0}, {"a"}).status(),
            absl::InvalidArgumentError("1 labels want 4 values of images, got 5"));
  EXPECT_EQ(InMemoryDataset::Create({1, 2, 2}, {1, 2, 3, 4}, {0, 0}, {"a"}).status(),
            absl::InvalidArgumentError("2 labels want 8 values of images, got 4"));
  EXPECT_EQ(InMemoryDataset::Create({1, 1, 1}, {1, 2}, {0, 2}, {"a", "b"}).status(),
            absl::InvalidArgumentError("image 1: label must be in [0, 2), got 2"));
  EXPECT_EQ(InMemoryDataset::Create({1, 1, 1}, {1, 2}, {-1, 0}, {"a", "b"}).status(),
            absl::InvalidArgumentError("image 0: label must be in [0, 2), got -1"));
}

TEST(InMemoryDatasetTest, RefusesImagesWithoutValues) {
  EXPECT_EQ(InMemoryDataset::Create({3, 0, 2}, {}, {}, {"a"}).status(),
            absl::InvalidArgumentError("images must have at least one value, got 3x0x2"));
  // The product is positive: each side has to be looked at.
  EXPECT_EQ(InMemoryDataset::Create({1, -1, -1}, {1}, {0}, {"a"}).status(),
            absl::InvalidArgumentError("images must have at least one value, got 1x-1x-1"));
}

// ---- Synthetic images ----

TEST(SyntheticDatasetTest, LabelsGoRound) {
  SyntheticOptions options;
  options.size = 7;
  options.num_classes = 3;
  const auto dataset = MakeSyntheticDataset(options);
  EXPECT_EQ(dataset->size(), 7);
  EXPECT_EQ(dataset->image_shape(), (ImageShape{3, 32, 32}));
  EXPECT_THAT(dataset->class_names(), ElementsAre("class0", "class1", "class2"));
  for (int i = 0; i < 7; ++i) {
    int32_t label = -1;
    Image(*dataset, i, &label);
    EXPECT_EQ(label, i % 3);
  }
}

TEST(SyntheticDatasetTest, WithoutNoiseAnImageIsItsClassesPatternOfBlocks) {
  SyntheticOptions options;
  options.size = 6;
  options.num_classes = 3;
  options.shape = {2, 8, 6};  // The last block of a row is only two pixels wide.
  options.noise = 0;
  const auto dataset = MakeSyntheticDataset(options);
  int32_t label;
  for (int i = 0; i < 3; ++i) {
    const std::vector<uint8_t> image = Image(*dataset, i, &label);
    EXPECT_EQ(image, Image(*dataset, i + 3, &label));
    for (int c = 0; c < 2; ++c) {
      for (int y = 0; y < 8; ++y) {
        for (int x = 0; x < 6; ++x) {
          EXPECT_EQ(image[(c * 8 + y) * 6 + x], image[(c * 8 + y / 4 * 4) * 6 + x / 4 * 4])
              << c << " " << y << " " << x;
        }
      }
    }
  }
  EXPECT_NE(Image(*dataset, 0, &label), Image(*dataset, 1, &label));
}

TEST(SyntheticDatasetTest, NoiseHasTheDeviationAskedFor) {
  SyntheticOptions options;
  options.size = 40;
  options.num_classes = 1;
  options.noise = 0;
  int32_t label;
  const std::vector<uint8_t> pattern = Image(*MakeSyntheticDataset(options), 0, &label);
  options.noise = 5;
  const auto noisy = MakeSyntheticDataset(options);
  double squares = 0;
  int64_t count = 0;
  for (int i = 0; i < 40; ++i) {
    const std::vector<uint8_t> image = Image(*noisy, i, &label);
    for (size_t v = 0; v < image.size(); ++v) {
      if (pattern[v] < 30 || pattern[v] > 225) continue;  // The clamp to 0..255 would make the noise smaller.
      squares += std::pow(image[v] - pattern[v], 2);
      ++count;
    }
  }
  ASSERT_GT(count, 50000);
  // Rounding to whole steps adds 1/12 to the variance.
  EXPECT_NEAR(squares / static_cast<double>(count), 25 + 1.0 / 12, 0.5);
}

TEST(SyntheticDatasetTest, TwoSizesShareImagesAndTwoSeedsDoNot) {
  SyntheticOptions options;
  options.size = 12;
  const auto small = MakeSyntheticDataset(options);
  options.size = 25;
  const auto large = MakeSyntheticDataset(options);
  options.seed = 1;
  const auto other = MakeSyntheticDataset(options);
  int32_t label;
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(Image(*small, i, &label), Image(*large, i, &label));
    EXPECT_NE(Image(*small, i, &label), Image(*other, i, &label));
  }
}

TEST(SyntheticDatasetDeathTest, OptionsOutOfRangeAbort) {
  SyntheticOptions options;
  options.num_classes = 0;
  EXPECT_DEATH(MakeSyntheticDataset(options), "num_classes 0");
  options = SyntheticOptions();
  options.shape.height = 0;
  EXPECT_DEATH(MakeSyntheticDataset(options), "images must have at least one value, got 3x0x32");
}

}  // namespace
}  // namespace lowbit
