#include "data/dataset.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(DatasetTest, IndexErrorNamesTheImageAndTheSize) {
  EXPECT_EQ(IndexError(10, 10), absl::OutOfRangeError("image 10 of a data set of 10"));
  EXPECT_EQ(IndexError(-1, 0), absl::OutOfRangeError("image -1 of a data set of 0"));
}

TEST(ImageShapeTest, CountsValues) {
  const ImageShape shape = {3, 4, 5};
  EXPECT_EQ(shape.area(), 20);
  EXPECT_EQ(shape.size(), 60);
  // Beyond 32 bits, though each side is an int.
  EXPECT_EQ((ImageShape{3, 70000, 70000}.size()), int64_t{14700000000});
}

TEST(ImageShapeTest, ComparesEverySide) {
  const ImageShape shape = {3, 4, 5};
  EXPECT_TRUE(shape == (ImageShape{3, 4, 5}));
  EXPECT_FALSE(shape != (ImageShape{3, 4, 5}));
  for (const ImageShape& other : {ImageShape{1, 4, 5}, ImageShape{3, 5, 5}, ImageShape{3, 4, 4}}) {
    EXPECT_TRUE(shape != other);
    EXPECT_FALSE(shape == other);
  }
}

}  // namespace
}  // namespace lowbit
