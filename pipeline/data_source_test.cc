#include "pipeline/data_source.h"

#include <algorithm>
#include <set>

#include "base/field_error.h"
#include "data/cifar10.h"
#include "data/in_memory_dataset.h"
#include "gtest/gtest.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

TEST(DrawImages, DependsOnSeedAndPurpose) {
  const std::vector<int64_t> images = DrawImages(1000, 100, 1, 2);
  ASSERT_EQ(images.size(), 100u);
  EXPECT_EQ(std::set<int64_t>(images.begin(), images.end()).size(), 100u);
  EXPECT_LT(*std::max_element(images.begin(), images.end()), 1000);
  EXPECT_GE(*std::min_element(images.begin(), images.end()), 0);
  EXPECT_EQ(images, DrawImages(1000, 100, 1, 2));
  EXPECT_NE(images, DrawImages(1000, 100, 2, 2));
  EXPECT_NE(images, DrawImages(1000, 100, 1, 3));
  // More images are these, and others.
  const std::vector<int64_t> more = DrawImages(1000, 200, 1, 2);
  EXPECT_TRUE(std::equal(images.begin(), images.end(), more.begin()));
}

TEST(DrawUnseenImages, TakesWhatWasSeenOnlyWhenAllElseIsUsedUp) {
  const std::vector<int64_t> seen = DrawImages(10, 4, 1, 2);
  const std::vector<int64_t> all = DrawUnseenImages(10, 8, 1, 3, seen);
  EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), 8u);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(std::count(seen.begin(), seen.end(), all[i]), i < 6 ? 0 : 1) << i;
  }
  const std::vector<int64_t> fewer = DrawUnseenImages(10, 3, 1, 3, seen);
  EXPECT_TRUE(std::equal(fewer.begin(), fewer.end(), all.begin()));
  EXPECT_EQ(DrawUnseenImages(1000, 100, 1, 2, {}), DrawImages(1000, 100, 1, 2));
}

TEST(DataSource, OpensASplitOnce) {
  int opened = 0;
  DataSource source(
      [&](Split split) {
        ++opened;
        SyntheticOptions options;
        options.size = split == Split::kTrain ? 30 : 20;
        return absl::StatusOr<std::unique_ptr<Dataset>>(MakeSyntheticDataset(options));
      },
      Normalization());
  EXPECT_EQ((*source.Get(Split::kTrain))->size(), 30);
  EXPECT_EQ((*source.Get(Split::kTest))->size(), 20);
  EXPECT_EQ(*source.Get(Split::kTest), *source.Get(Split::kTest));
  EXPECT_EQ(opened, 2);
}

TEST(DataSource, ErrorsNameTheField) {
  DatasetConfig config;
  config.set_data_dir("/nowhere");
  for (const float value : {0.5f, 0.5f, 0.5f}) {
    config.add_mean(value);
    config.add_std(value);
  }
  auto source = DataSource::FromConfig(config);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->class_names(), Cifar10ClassNames());
  EXPECT_EQ(ErrorField((*source)->Get(Split::kTest).status()), "dataset.data_dir");

  config.set_std(1, 0);
  EXPECT_FALSE(DataSource::FromConfig(config).ok());
  config.add_std(0.5);
  const absl::Status four = DataSource::FromConfig(config).status();
  EXPECT_EQ(four.message(), "must be 3 numbers, for red, green and blue; got 4");
  EXPECT_EQ(ErrorField(four), "std");
}

TEST(CheckFits, ComparesShapesAndClasses) {
  SyntheticOptions options;
  EXPECT_TRUE(CheckFits(*BuildResnetCifar({}), *MakeSyntheticDataset(options)).ok());
  options.num_classes = 7;
  EXPECT_EQ(CheckFits(*BuildResnetCifar({}), *MakeSyntheticDataset(options)).message(),
            "the network puts out [10], the data set has 7 classes");
  options.shape = {3, 16, 16};
  EXPECT_EQ(CheckFits(*BuildResnetCifar({}), *MakeSyntheticDataset(options)).message(),
            "the network takes images of shape [3, 32, 32], those of the data set are [3, 16, 16]");
}

}  // namespace
}  // namespace lowbit
