#include "data/mixup.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAreArray;

constexpr int kImages = 200;

// Image i is {10 i, -10 i, 1}.
std::vector<float> Batch() {
  std::vector<float> images;
  for (int i = 0; i < kImages; ++i) {
    images.insert(images.end(), {10.0f * static_cast<float>(i), -10.0f * static_cast<float>(i), 1});
  }
  return images;
}

std::vector<float> Mixed(double part, uint64_t seed = 1, uint64_t epoch = 2, uint64_t batch = 3) {
  std::vector<float> images = Batch();
  MixImages(part, seed, epoch, batch, 3, &images);
  return images;
}

// How many images are not what they were.
int Changed(const std::vector<float>& images) {
  const std::vector<float> before = Batch();
  int changed = 0;
  for (size_t i = 0; i < before.size(); i += 3) changed += images[i] != before[i];
  return changed;
}

TEST(MixupTest, AnImageBecomesAWeightedMeanOfTwo) {
  const std::vector<float> images = Mixed(1);
  for (size_t i = 0; i < images.size(); i += 3) {
    // The same weight for all numbers of an image, and within what the two can give.
    EXPECT_NEAR(images[i + 1], -images[i], 1e-3);
    EXPECT_EQ(images[i + 2], 1);
    EXPECT_GE(images[i], 0);
    EXPECT_LE(images[i], 10 * (kImages - 1));
  }
}

// Own weights w and partners p, from image one-hot vectors: images become w e_i + (1 - w) e_p(i).
TEST(MixupTest, PartnersAreAPermutationAndWeightsAreUniform) {
  std::vector<float> images(kImages * kImages);
  for (size_t i = 0; i < kImages; ++i) images[i * kImages + i] = 1;
  MixImages(1, 7, 0, 0, kImages, &images);
  std::vector<int> times(kImages);
  std::vector<float> weights;
  for (size_t i = 0; i < kImages; ++i) {
    for (size_t k = 0; k < kImages; ++k) {
      if (k != i && images[i * kImages + k] != 0) ++times[k];
    }
    weights.push_back(images[i * kImages + i]);
  }
  // Some are their own partner, and some weights may be 0 or 1 by rounding.
  EXPECT_EQ(*std::max_element(times.begin(), times.end()), 1);
  EXPECT_GE(std::count(times.begin(), times.end(), 1), kImages - 10);
  std::sort(weights.begin(), weights.end());
  for (size_t i = 0; i < kImages; ++i) EXPECT_NEAR(weights[i], (static_cast<double>(i) + 0.5) / kImages, 0.12);
}

TEST(MixupTest, APartStaysAsItWas) {
  EXPECT_THAT(Mixed(0), ElementsAreArray(Batch()));
  const std::vector<float> half = Mixed(0.5), all = Mixed(1);
  EXPECT_NEAR(Changed(half), kImages / 2, 25);
  EXPECT_GE(Changed(all), kImages - 5);
  // Those that are mixed in both are mixed alike.
  const std::vector<float> before = Batch();
  for (size_t i = 0; i < half.size(); ++i) {
    if (half[i] != before[i]) {
      EXPECT_EQ(half[i], all[i]);
    }
  }
}

TEST(MixupTest, DependsOnSeedEpochAndBatch) {
  EXPECT_THAT(Mixed(1), ElementsAreArray(Mixed(1, 1, 2, 3)));
  EXPECT_NE(Mixed(1), Mixed(1, 9, 2, 3));
  EXPECT_NE(Mixed(1), Mixed(1, 1, 9, 3));
  EXPECT_NE(Mixed(1), Mixed(1, 1, 2, 9));
}

TEST(MixupTest, OneImageStays) {
  std::vector<float> images = {1, 2, 3};
  MixImages(1, 1, 1, 1, 3, &images);
  EXPECT_THAT(images, ElementsAreArray({1.0f, 2.0f, 3.0f}));
}

}  // namespace
}  // namespace lowbit
