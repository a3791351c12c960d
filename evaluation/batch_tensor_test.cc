#include "evaluation/batch_tensor.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

Batch MakeBatch() {
  Batch batch;
  batch.shape = {2, 3, 4};
  batch.labels = {7, 0};
  batch.indices = {1, 2};
  for (int i = 0; i < 48; ++i) batch.images.push_back(static_cast<float>(i));
  return batch;
}

TEST(ImagesTensorTest, HasTheBatchsShapeTypeAndOrder) {
  Batch batch = MakeBatch();
  const at::Tensor images = ImagesTensor(batch);
  EXPECT_EQ(images.scalar_type(), at::kFloat);
  EXPECT_THAT(images.sizes().vec(), ElementsAre(2, 2, 3, 4));
  EXPECT_EQ(images[1][0][2][3].item<float>(), 24 + 11);
  EXPECT_EQ(images[0][1][0][2].item<float>(), 12 + 2);
}

TEST(ImagesTensorTest, LiesOnTheBatchsMemory) {
  Batch batch = MakeBatch();
  const at::Tensor images = ImagesTensor(batch);
  EXPECT_EQ(images.data_ptr<float>(), batch.images.data());
}

TEST(LabelsTensorTest, IsACopyOf64Bits) {
  Batch batch = MakeBatch();
  const at::Tensor labels = LabelsTensor(batch);
  batch.labels = {5, 5};
  EXPECT_EQ(labels.scalar_type(), at::kLong);
  EXPECT_THAT(labels.sizes().vec(), ElementsAre(2));
  EXPECT_EQ(labels[0].item<int64_t>(), 7);
  EXPECT_EQ(labels[1].item<int64_t>(), 0);
}

TEST(BatchTensorTest, NoImages) {
  Batch batch;
  batch.shape = {3, 2, 2};
  EXPECT_THAT(ImagesTensor(batch).sizes().vec(), ElementsAre(0, 3, 2, 2));
  EXPECT_THAT(LabelsTensor(batch).sizes().vec(), ElementsAre(0));
}

}  // namespace
}  // namespace lowbit
