#include "data/subset.h"

#include "data/in_memory_dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

// Five images of one value: image i holds 10 * i and has label i % 2.
std::shared_ptr<const Dataset> Base() {
  auto dataset = InMemoryDataset::Create({1, 1, 1}, {0, 10, 20, 30, 40}, {0, 1, 0, 1, 0}, {"even", "odd"});
  EXPECT_TRUE(dataset.ok()) << dataset.status();
  return *std::move(dataset);
}

std::vector<int> Values(const Dataset& dataset) {
  std::vector<int> values;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    uint8_t value = 255;
    int32_t label = -1;
    EXPECT_TRUE(dataset.Get(i, &value, &label).ok());
    EXPECT_EQ(label, value / 10 % 2);
    values.push_back(value);
  }
  return values;
}

TEST(SubsetTest, GivesTheImagesInTheOrderOfTheIndices) {
  const auto subset = Subset::Create(Base(), {4, 1, 4, 0});
  ASSERT_TRUE(subset.ok()) << subset.status();
  EXPECT_THAT(Values(**subset), ElementsAre(40, 10, 40, 0));
  EXPECT_EQ((*subset)->image_shape(), (ImageShape{1, 1, 1}));
  EXPECT_THAT((*subset)->class_names(), ElementsAre("even", "odd"));
}

TEST(SubsetTest, MayBeEmpty) {
  const auto subset = Subset::Create(Base(), {});
  ASSERT_TRUE(subset.ok()) << subset.status();
  EXPECT_EQ((*subset)->size(), 0);
}

TEST(SubsetTest, KeepsTheBaseAlive) {
  auto base = Base();
  const auto subset = Subset::Create(base, {2});
  ASSERT_TRUE(subset.ok()) << subset.status();
  EXPECT_EQ(base.use_count(), 2);
  base.reset();
  EXPECT_THAT(Values(**subset), ElementsAre(20));
}

TEST(SubsetTest, FirstTakesThemFromTheFront) {
  const auto three = Subset::First(Base(), 3);
  ASSERT_TRUE(three.ok()) << three.status();
  EXPECT_THAT(Values(**three), ElementsAre(0, 10, 20));
  const auto all = Subset::First(Base(), 5);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_THAT(Values(**all), ElementsAre(0, 10, 20, 30, 40));
}

TEST(SubsetTest, RefusesIndicesThatTheBaseDoesNotHave) {
  EXPECT_EQ(Subset::Create(Base(), {0, 5}).status(),
            absl::InvalidArgumentError("indices[1]: must be in [0, 5), got 5"));
  EXPECT_EQ(Subset::Create(Base(), {-1}).status(), absl::InvalidArgumentError("indices[0]: must be in [0, 5), got -1"));
}

TEST(SubsetTest, RefusesALimitThatTheBaseDoesNotHave) {
  EXPECT_EQ(Subset::First(Base(), 6).status(),
            absl::InvalidArgumentError("the number of images must be in [1, 5], got 6"));
  EXPECT_EQ(Subset::First(Base(), 0).status(),
            absl::InvalidArgumentError("the number of images must be in [1, 5], got 0"));
}

TEST(SubsetTest, AnIndexOutOfRangeIsTheSubsetsOwn) {
  const auto subset = Subset::Create(Base(), {4, 1});
  ASSERT_TRUE(subset.ok()) << subset.status();
  uint8_t value;
  int32_t label;
  // Image 2 exists in the base, but not here.
  EXPECT_EQ((*subset)->Get(2, &value, &label), absl::OutOfRangeError("image 2 of a data set of 2"));
  EXPECT_EQ((*subset)->Get(-1, &value, &label), absl::OutOfRangeError("image -1 of a data set of 2"));
}

}  // namespace
}  // namespace lowbit
