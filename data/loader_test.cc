#include "data/loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <thread>

#include "base/field_error.h"
#include "data/in_memory_dataset.h"
#include "data/mixup.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

// `size` images of one value: image i holds i and has label i % 3.
std::unique_ptr<Dataset> Counting(int size) {
  std::vector<uint8_t> values;
  std::vector<int32_t> labels;
  for (int i = 0; i < size; ++i) {
    values.push_back(static_cast<uint8_t>(i));
    labels.push_back(i % 3);
  }
  auto dataset = InMemoryDataset::Create({1, 1, 1}, values, labels, {"a", "b", "c"});
  EXPECT_TRUE(dataset.ok()) << dataset.status();
  return *std::move(dataset);
}

// Another data set, with something that happens before each read.
class Watched : public Dataset {
 public:
  Watched(const Dataset& base, std::function<absl::Status(int64_t)> before) : base_(base), before_(std::move(before)) {}
  int64_t size() const override { return base_.size(); }
  ImageShape image_shape() const override { return base_.image_shape(); }
  const std::vector<std::string>& class_names() const override { return base_.class_names(); }
  absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
    const absl::Status status = before_(index);
    return status.ok() ? base_.Get(index, chw, label) : status;
  }

 private:
  const Dataset& base_;
  const std::function<absl::Status(int64_t)> before_;
};

// Values stay whole numbers.
LoaderOptions Options(int64_t batch_size, int channels = 1) {
  LoaderOptions options;
  options.batch_size = batch_size;
  options.normalization = {std::vector<float>(channels, 0.0f), std::vector<float>(channels, 1.0f / 255.0f)};
  return options;
}

std::vector<Batch> ReadAll(const Dataset& dataset, const LoaderOptions& options) {
  std::vector<Batch> batches;
  auto loader = Loader::Create(&dataset, options);
  EXPECT_TRUE(loader.ok()) << loader.status();
  while (loader.ok()) {
    auto batch = (*loader)->Next();
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok() || !batch->has_value()) break;
    batches.push_back(**std::move(batch));
  }
  return batches;
}

std::vector<std::vector<int64_t>> Indices(const std::vector<Batch>& batches) {
  std::vector<std::vector<int64_t>> indices;
  for (const Batch& batch : batches) indices.push_back(batch.indices);
  return indices;
}

TEST(LoaderTest, WithoutAnOrderEveryImageComesOnce) {
  const auto dataset = Counting(10);
  const std::vector<Batch> batches = ReadAll(*dataset, Options(4));
  EXPECT_THAT(Indices(batches), ElementsAre(ElementsAre(0, 1, 2, 3), ElementsAre(4, 5, 6, 7), ElementsAre(8, 9)));
  for (const Batch& batch : batches) {
    EXPECT_EQ(batch.shape, (ImageShape{1, 1, 1}));
    ASSERT_EQ(batch.size(), static_cast<int64_t>(batch.indices.size()));
    ASSERT_EQ(batch.images.size(), batch.indices.size());
    for (size_t i = 0; i < batch.indices.size(); ++i) {
      EXPECT_EQ(batch.labels[i], batch.indices[i] % 3);
      EXPECT_EQ(std::lround(batch.images[i]), batch.indices[i]);
    }
  }
}

TEST(LoaderTest, RespectsTheOrder) {
  const auto dataset = Counting(10);
  LoaderOptions options = Options(2);
  options.order = {9, 3, 3, 0, 7};
  const std::vector<Batch> batches = ReadAll(*dataset, options);
  EXPECT_THAT(Indices(batches), ElementsAre(ElementsAre(9, 3), ElementsAre(3, 0), ElementsAre(7)));
  EXPECT_THAT(batches[1].labels, ElementsAre(0, 0));
  EXPECT_THAT(batches[2].labels, ElementsAre(1));
  EXPECT_EQ(std::lround(batches[0].images[0]), 9);
}

TEST(LoaderTest, CountsImagesAndBatches) {
  const auto dataset = Counting(10);
  const auto counts = [&](const LoaderOptions& options) {
    const auto loader = Loader::Create(dataset.get(), options);
    EXPECT_TRUE(loader.ok()) << loader.status();
    EXPECT_EQ(&(*loader)->dataset(), dataset.get());
    return std::vector<int64_t>{(*loader)->image_count(), (*loader)->batch_count()};
  };
  EXPECT_THAT(counts(Options(4)), ElementsAre(10, 3));
  EXPECT_THAT(counts(Options(5)), ElementsAre(10, 2));
  EXPECT_THAT(counts(Options(11)), ElementsAre(10, 1));
  EXPECT_THAT(counts(Options(std::numeric_limits<int64_t>::max())), ElementsAre(10, 1));
  LoaderOptions options = Options(2);
  options.order = {1, 1, 1};
  EXPECT_THAT(counts(options), ElementsAre(3, 2));
}

TEST(LoaderTest, TheEndStaysTheEnd) {
  for (const int size : {0, 3}) {
    const auto dataset = Counting(size);
    auto loader = Loader::Create(dataset.get(), Options(3));
    ASSERT_TRUE(loader.ok()) << loader.status();
    if (size > 0) {
      ASSERT_TRUE((*(*loader)->Next()).has_value());
    }
    for (int i = 0; i < 2; ++i) {
      const auto batch = (*loader)->Next();
      ASSERT_TRUE(batch.ok()) << batch.status();
      EXPECT_FALSE(batch->has_value());
    }
  }
}

TEST(LoaderTest, NormalisesEachChannel) {
  const auto dataset = InMemoryDataset::Create({2, 1, 2}, {0, 255, 51, 255, 255, 0, 0, 51}, {0, 0}, {"a"});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  LoaderOptions options;
  options.normalization = {{0.5f, 0.25f}, {0.25f, 0.5f}};
  const std::vector<Batch> batches = ReadAll(**dataset, options);
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_THAT(batches[0].images,
              testing::Pointwise(testing::FloatNear(1e-6f), std::vector<float>{-2, 2, -0.1f, 1.5, 2, -2, -0.5, -0.1f}));
}

TEST(LoaderTest, ThreadsAndPrefetchChangeNoByte) {
  SyntheticOptions synthetic;
  synthetic.size = 53;
  synthetic.shape = {3, 8, 8};
  const auto dataset = MakeSyntheticDataset(synthetic);
  LoaderOptions options;
  options.batch_size = 5;
  options.augment = AugmentOptions();
  options.order = ShuffledOrder(53, 1, 2);
  options.mixup = 0.7;
  const std::vector<Batch> wanted = ReadAll(*dataset, options);
  ASSERT_EQ(wanted.size(), 11u);
  for (const int threads : {1, 2, 5}) {
    for (const int prefetch : {1, 2, 9, 100}) {
      options.threads = threads;
      options.prefetch = prefetch;
      const std::vector<Batch> batches = ReadAll(*dataset, options);
      ASSERT_EQ(batches.size(), wanted.size());
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_EQ(batches[i].images, wanted[i].images)
            << threads << " threads, prefetch " << prefetch << ", batch " << i;
        EXPECT_EQ(batches[i].labels, wanted[i].labels);
        EXPECT_EQ(batches[i].indices, wanted[i].indices);
      }
    }
  }
}

TEST(LoaderTest, AugmentationDependsOnSeedEpochAndIndexOnly) {
  SyntheticOptions synthetic;
  synthetic.size = 9;
  synthetic.shape = {3, 8, 8};
  const auto dataset = MakeSyntheticDataset(synthetic);
  // All images one after the other.
  const auto values = [&](int64_t batch_size, std::vector<int64_t> order, uint64_t seed, uint64_t epoch) {
    LoaderOptions options = Options(batch_size, 3);
    options.order = std::move(order);
    options.seed = seed;
    options.epoch = epoch;
    options.augment = AugmentOptions();
    std::vector<float> all;
    for (const Batch& batch : ReadAll(*dataset, options))
      all.insert(all.end(), batch.images.begin(), batch.images.end());
    return all;
  };
  const auto image = [](const std::vector<float>& all, int i) {
    return std::vector<float>(all.begin() + i * 192, all.begin() + (i + 1) * 192);
  };
  const std::vector<float> sequential = values(9, {}, 1, 2);
  const std::vector<float> other = values(2, {7, 4, 7}, 1, 2);
  EXPECT_EQ(image(other, 0), image(sequential, 7));
  EXPECT_EQ(image(other, 1), image(sequential, 4));
  EXPECT_EQ(image(other, 2), image(sequential, 7));
  EXPECT_NE(image(values(9, {}, 2, 2), 7), image(sequential, 7));
  EXPECT_NE(image(values(9, {}, 1, 3), 7), image(sequential, 7));

  // It is DrawAugment() and ApplyAugment() that are meant.
  std::vector<uint8_t> chw(192), scratch;
  int32_t label;
  ASSERT_TRUE(dataset->Get(4, chw.data(), &label).ok());
  ApplyAugment(DrawAugment(AugmentOptions(), 1, 2, 4), {3, 8, 8}, chw.data(), &scratch);
  for (size_t v = 0; v < 192; ++v) EXPECT_EQ(std::lround(image(sequential, 4)[v]), chw[v]);
}

TEST(LoaderTest, MixesTheImagesOfABatch) {
  const auto dataset = Counting(40);
  LoaderOptions options = Options(16);
  std::vector<Batch> wanted = ReadAll(*dataset, options);
  options.mixup = 0.9;
  options.seed = 5;
  options.epoch = 6;
  const std::vector<Batch> mixed = ReadAll(*dataset, options);
  ASSERT_EQ(mixed.size(), 3u);
  for (size_t i = 0; i < mixed.size(); ++i) {
    EXPECT_NE(mixed[i].images, wanted[i].images);
    MixImages(0.9, 5, 6, i, 1, &wanted[i].images);
    EXPECT_EQ(mixed[i].images, wanted[i].images);
    EXPECT_EQ(mixed[i].labels, wanted[i].labels);
    EXPECT_EQ(mixed[i].indices, wanted[i].indices);
  }
}

TEST(LoaderTest, KeepsNoMoreBatchesReadyThanPrefetch) {
  const auto base = Counting(100);
  std::atomic<int> reads{0};
  const Watched dataset(*base, [&](int64_t) { return ++reads, absl::OkStatus(); });
  LoaderOptions options = Options(4);
  options.prefetch = 3;
  options.threads = 8;
  auto loader = Loader::Create(&dataset, options);
  ASSERT_TRUE(loader.ok()) << loader.status();
  for (int taken = 0; taken < 3; ++taken) {
    // Runs ahead without being asked, up to there and no further.
    while (reads < (3 + taken) * 4) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(reads, (3 + taken) * 4);
    ASSERT_TRUE((*loader)->Next().ok());
  }
}

TEST(LoaderTest, MayBeDestroyedAtAnyTime) {
  const auto base = Counting(200);
  const Watched dataset(*base, [](int64_t index) {
    if (index % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    return absl::OkStatus();
  });
  LoaderOptions options = Options(7);
  options.threads = 4;
  for (int round = 0; round < 40; ++round) {
    options.prefetch = 1 + round % 5;
    auto loader = Loader::Create(&dataset, options);
    ASSERT_TRUE(loader.ok()) << loader.status();
    for (int taken = 0; taken < round % 8; ++taken) ASSERT_TRUE((*loader)->Next().ok());
  }
}

TEST(LoaderTest, AnErrorComesOutInItsBatchsPlaceAndAgain) {
  const auto base = Counting(40);
  const Watched dataset(*base, [](int64_t index) {
    return index == 9 || index == 13 ? absl::DataLossError("image " + std::to_string(index) + " is gone")
                                     : absl::OkStatus();
  });
  for (const int threads : {1, 4}) {
    LoaderOptions options = Options(4);
    options.threads = options.prefetch = threads;
    auto loader = Loader::Create(&dataset, options);
    ASSERT_TRUE(loader.ok()) << loader.status();
    for (int i = 0; i < 2; ++i) {
      const auto batch = (*loader)->Next();
      ASSERT_TRUE(batch.ok()) << batch.status();
      EXPECT_EQ((*batch)->indices[0], 4 * i);
    }
    for (int i = 0; i < 3; ++i) EXPECT_EQ((*loader)->Next().status(), absl::DataLossError("image 9 is gone"));
  }
}

// ---- Orders ----

TEST(OrderTest, Sequential) {
  EXPECT_THAT(SequentialOrder(4), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(SequentialOrder(0), ElementsAre());
}

TEST(OrderTest, ShuffledIsAPermutationThatDependsOnTheNumbersOnly) {
  const std::vector<int64_t> order = ShuffledOrder(100, 1, 2);
  EXPECT_EQ(ShuffledOrder(100, 1, 2), order);
  EXPECT_NE(ShuffledOrder(100, 2, 2), order);
  EXPECT_NE(ShuffledOrder(100, 1, 3), order);
  EXPECT_NE(ShuffledOrder(100, 2, 1), order);
  EXPECT_NE(order, SequentialOrder(100));
  EXPECT_THAT(order, testing::UnorderedElementsAreArray(SequentialOrder(100)));
  EXPECT_THAT(ShuffledOrder(0, 1, 2), ElementsAre());
}

// ---- Checks ----

struct BadOption {
  std::string field, message;
  void (*change)(LoaderOptions&);
};

class LoaderErrorTest : public testing::TestWithParam<BadOption> {};

TEST_P(LoaderErrorTest, NamesTheField) {
  const auto dataset = Counting(10);
  LoaderOptions options = Options(4);
  GetParam().change(options);
  const absl::Status status = Loader::Create(dataset.get(), options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(status), GetParam().field);
  EXPECT_EQ(status.message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, LoaderErrorTest,
    testing::Values(BadOption{"batch_size", "must be at least 1, got 0", [](LoaderOptions& o) { o.batch_size = 0; }},
                    BadOption{"prefetch", "must be at least 1, got 0", [](LoaderOptions& o) { o.prefetch = 0; }},
                    BadOption{"threads", "must be at least 1, got -2", [](LoaderOptions& o) { o.threads = -2; }},
                    BadOption{"order[1]", "must be in [0, 10), got 10",
                              [](LoaderOptions& o) {
                                o.order = {0, 10};
                              }},
                    BadOption{"order[0]", "must be in [0, 10), got -1", [](LoaderOptions& o) { o.order = {-1}; }},
                    BadOption{"mixup", "must be in [0, 1], got -0.5", [](LoaderOptions& o) { o.mixup = -0.5; }},
                    BadOption{"augment.crop_padding", "must be in [0, 0] for images of 1x1, got 4",
                              [](LoaderOptions& o) { o.augment = AugmentOptions(); }},
                    BadOption{"normalization.mean", "the images have 1 channels, got 3 values",
                              [](LoaderOptions& o) { o.normalization = Normalization(); }},
                    BadOption{"normalization.std[0]", "must be positive and finite, got 0", [](LoaderOptions& o) {
                                o.normalization = {{0}, {0}};
                              }}));

}  // namespace
}  // namespace lowbit
