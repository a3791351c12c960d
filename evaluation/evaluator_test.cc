#include "evaluation/evaluator.h"

#include <ATen/ops/zeros.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "base/interrupt.h"
#include "data/in_memory_dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

constexpr auto kNap = std::chrono::milliseconds(40);

// Images of three values, which ReadOff() takes for the logits of three classes.
std::unique_ptr<Dataset> MakeDataset() {
  auto dataset = InMemoryDataset::Create({1, 1, 3},
                                         {9, 1, 1,   // Class 0, taken for 0.
                                          1, 2, 9,   // Class 1, taken for 2; second best.
                                          1, 9, 2,   // Class 0, taken for 1; third best.
                                          1, 2, 9,   // Class 2, taken for 2.
                                          5, 5, 0},  // Class 1, taken for 0; a tie.
                                         {0, 1, 0, 2, 1}, {"a", "b", "c"});
  EXPECT_TRUE(dataset.ok()) << dataset.status();
  return *std::move(dataset);
}

absl::StatusOr<at::Tensor> ReadOff(const at::Tensor& images) { return images.reshape({images.size(0), 3}); }

class EvaluatorTest : public testing::Test {
 protected:
  EvaluatorTest() { options_.show_progress = false; }
  void TearDown() override { ClearInterrupt(); }

  std::unique_ptr<Loader> MakeLoader(const Dataset& dataset, int64_t batch_size = 2) {
    LoaderOptions options;
    options.batch_size = batch_size;
    options.prefetch = 1;
    options.normalization = {{0.0f}, {1.0f}};
    auto loader = Loader::Create(&dataset, options);
    EXPECT_TRUE(loader.ok()) << loader.status();
    return *std::move(loader);
  }

  // The error that this forward function leads to.
  absl::Status Error(const ForwardFunction& forward) {
    return Evaluate(forward, *MakeLoader(*dataset_), options_).status();
  }

  std::unique_ptr<Dataset> dataset_ = MakeDataset();
  EvaluationOptions options_;
};

TEST_F(EvaluatorTest, CountsOverAllBatches) {
  for (const int64_t batch_size : {1, 2, 3, 100}) {
    options_.k = 2;
    const auto result = Evaluate(ReadOff, *MakeLoader(*dataset_, batch_size), options_);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->metrics.images, 5);
    EXPECT_EQ(result->metrics.k, 2);
    EXPECT_DOUBLE_EQ(result->metrics.top1, 0.4);
    EXPECT_DOUBLE_EQ(result->metrics.topk, 0.8);
    EXPECT_EQ(result->confusion.num_classes(), 3);
    EXPECT_EQ(result->confusion.count(0, 0), 1);
    EXPECT_EQ(result->confusion.count(0, 1), 1);
    EXPECT_EQ(result->confusion.count(1, 0), 1);
    EXPECT_EQ(result->confusion.count(1, 2), 1);
    EXPECT_EQ(result->confusion.count(2, 2), 1);
  }
}

TEST_F(EvaluatorTest, ForwardGetsNormalisedImagesBatchByBatch) {
  std::vector<std::vector<int64_t>> shapes;
  float largest = 0;
  const auto result = Evaluate(
      [&](const at::Tensor& images) {
        EXPECT_EQ(images.scalar_type(), at::kFloat);
        shapes.push_back(images.sizes().vec());
        largest = std::max(largest, images.max().item<float>());
        return ReadOff(images);
      },
      *MakeLoader(*dataset_), options_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(shapes, ElementsAre(ElementsAre(2, 1, 1, 3), ElementsAre(2, 1, 1, 3), ElementsAre(1, 1, 1, 3)));
  EXPECT_FLOAT_EQ(largest, 9.0f / 255.0f);
}

TEST_F(EvaluatorTest, KeepsTheMostConfidentMistakes) {
  // Images 1, 2 and 4 are taken for a wrong class. In logits of 1: 2 and 9 is surer than 9 and 2, which is as sure.
  const auto result_with = [&](int mistakes, int64_t batch_size) {
    options_.mistakes = mistakes;
    return Evaluate([](const at::Tensor& images) -> absl::StatusOr<at::Tensor> { return ReadOff(images)->mul(255); },
                    *MakeLoader(*dataset_, batch_size), options_);
  };
  EXPECT_THAT(result_with(0, 2)->mistakes, ElementsAre());
  for (const int64_t batch_size : {1, 2, 100}) {
    const auto result = result_with(2, batch_size);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->mistakes.size(), 2u);
    EXPECT_EQ(result->mistakes[0].index, 1);
    EXPECT_EQ(result->mistakes[0].label, 1);
    EXPECT_EQ(result->mistakes[0].prediction, 2);
    EXPECT_NEAR(result->mistakes[0].confidence, 1 / (1 + std::exp(-7) + std::exp(-8)), 1e-6);
    EXPECT_EQ(result->mistakes[1].index, 2);
    EXPECT_EQ(result->mistakes[1].prediction, 1);
  }
  EXPECT_EQ(result_with(10, 2)->mistakes.size(), 3u);
  EXPECT_NEAR(result_with(10, 2)->mistakes[2].confidence, 0.4983, 1e-3);
}

TEST_F(EvaluatorTest, TakesLogitsThatAreNotContiguous) {
  // The same numbers, column by column in memory.
  const auto transposed = [](const at::Tensor& images) -> absl::StatusOr<at::Tensor> {
    const at::Tensor logits = images.reshape({images.size(0), 3}).t().contiguous().t();
    EXPECT_EQ(logits.is_contiguous(), images.size(0) == 1);
    return logits;
  };
  const auto result = Evaluate(transposed, *MakeLoader(*dataset_), options_);
  ASSERT_TRUE(result.ok()) << result.status();
  // Read row by row from memory, image 2 would be taken for class 2.
  EXPECT_EQ(result->confusion.count(0, 1), 1);
  EXPECT_EQ(result->confusion.count(1, 2), 1);
  EXPECT_DOUBLE_EQ(result->metrics.top1, 0.4);
}

TEST_F(EvaluatorTest, RunsOverWhatIsLeftInTheLoader) {
  const auto loader = MakeLoader(*dataset_);
  ASSERT_TRUE(loader->Next().ok());
  const auto result = Evaluate(ReadOff, *loader, options_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->metrics.images, 3);
  // Nothing is left.
  const auto nothing = Evaluate(ReadOff, *loader, options_);
  ASSERT_TRUE(nothing.ok()) << nothing.status();
  EXPECT_EQ(nothing->metrics.images, 0);
  EXPECT_EQ(nothing->forward_seconds, 0);
}

TEST_F(EvaluatorTest, ShowsProgressIfAsked) {
  options_.label = "looking at";
  testing::internal::CaptureStderr();
  ASSERT_TRUE(Evaluate(ReadOff, *MakeLoader(*dataset_), options_).ok());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  options_.show_progress = true;
  testing::internal::CaptureStderr();
  ASSERT_TRUE(Evaluate(ReadOff, *MakeLoader(*dataset_), options_).ok());
  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_THAT(shown, testing::HasSubstr("looking at"));
  EXPECT_THAT(shown, testing::HasSubstr("top-1 40.00 %"));
}

// ---- Errors ----

TEST_F(EvaluatorTest, LogitsOfTheWrongShapeOrType) {
  EXPECT_EQ(Error([](const at::Tensor&) {
              return at::zeros({2, 4}, at::kFloat);
            }),
            absl::InvalidArgumentError("the network's output is Float [2, 4], wanted Float [2, 3]"));
  EXPECT_EQ(Error([](const at::Tensor&) {
              return at::zeros({1, 3}, at::kFloat);
            }),
            absl::InvalidArgumentError("the network's output is Float [1, 3], wanted Float [2, 3]"));
  EXPECT_EQ(Error([](const at::Tensor&) {
              return at::zeros({2, 3, 1, 1}, at::kFloat);
            }),
            absl::InvalidArgumentError("the network's output is Float [2, 3, 1, 1], wanted Float [2, 3]"));
  EXPECT_EQ(Error([](const at::Tensor&) {
              return at::zeros({2, 3}, at::kDouble);
            }),
            absl::InvalidArgumentError("the network's output is Double [2, 3], wanted Float [2, 3]"));
}

TEST_F(EvaluatorTest, LogitThatIsNotANumberNamesTheImage) {
  const auto broken = [](const at::Tensor& images) -> absl::StatusOr<at::Tensor> {
    at::Tensor logits = images.reshape({images.size(0), 3}).clone();
    // Image 3 of the data set is the second of its batch.
    if (images.flatten()[0].item<float>() * 255 < 2 && images.flatten()[1].item<float>() * 255 > 8)
      logits[1][2] = std::nanf("");
    return logits;
  };
  EXPECT_EQ(Error(broken), absl::InvalidArgumentError("image 3: the logit of class 2 is nan"));
}

TEST_F(EvaluatorTest, ErrorsOfForwardAndLoaderComeThrough) {
  EXPECT_EQ(Error([](const at::Tensor&) { return absl::ResourceExhaustedError("no memory"); }),
            absl::ResourceExhaustedError("no memory"));
  class Broken : public InMemoryDataset {
   public:
    explicit Broken(const InMemoryDataset& base) : InMemoryDataset(base) {}
    absl::Status Get(int64_t, uint8_t*, int32_t*) const override { return absl::DataLossError("gone"); }
  } broken(static_cast<const InMemoryDataset&>(*dataset_));
  EXPECT_EQ(Evaluate(ReadOff, *MakeLoader(broken), options_).status(), absl::DataLossError("gone"));
}

TEST_F(EvaluatorTest, AnInterruptionStopsBetweenTwoBatches) {
  int calls = 0;
  const auto interrupted = [&](const at::Tensor& images) {
    if (++calls == 2) RequestInterruptForTest();
    return ReadOff(images);
  };
  EXPECT_EQ(Error(interrupted), absl::CancelledError("interrupted"));
  EXPECT_EQ(calls, 2);
  // The flag is still set: not one more.
  EXPECT_EQ(Error(interrupted), absl::CancelledError("interrupted"));
  EXPECT_EQ(calls, 2);
}

// ---- Speed ----

TEST_F(EvaluatorTest, ForwardTimeIsThatOfTheForwardFunctionOnly) {
  // The data set makes the second batch late, after the first one has been worked on.
  class Slow : public InMemoryDataset {
   public:
    explicit Slow(const InMemoryDataset& base) : InMemoryDataset(base) {}
    absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
      if (index == 4) {
        while (!first_is_done) std::this_thread::yield();
        std::this_thread::sleep_for(3 * kNap);
      }
      return InMemoryDataset::Get(index, chw, label);
    }
    std::atomic<bool> first_is_done{false};
  } slow(static_cast<const InMemoryDataset&>(*dataset_));
  const auto napping = [&](const at::Tensor& images) {
    std::this_thread::sleep_for(kNap);
    slow.first_is_done = true;
    return ReadOff(images);
  };
  const auto result = Evaluate(napping, *MakeLoader(slow, 4), options_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GE(result->forward_seconds, 0.08);                         // Two naps.
  EXPECT_GE(result->wall_seconds, result->forward_seconds + 0.08);  // The wait of 0.12, less what a busy machine blurs.
  EXPECT_DOUBLE_EQ(result->forward_images_per_second(), 5 / result->forward_seconds);
  EXPECT_DOUBLE_EQ(result->wall_images_per_second(), 5 / result->wall_seconds);
}

TEST(EvaluationResultTest, ImagesPerSecond) {
  EvaluationResult result;
  EXPECT_EQ(result.forward_images_per_second(), 0);
  EXPECT_EQ(result.wall_images_per_second(), 0);
  result.metrics.images = 100;
  EXPECT_EQ(result.forward_images_per_second(), 0);  // No time, no speed.
  result.forward_seconds = 0.5;
  result.wall_seconds = 4.0;
  EXPECT_EQ(result.forward_images_per_second(), 200);
  EXPECT_EQ(result.wall_images_per_second(), 25);
}

}  // namespace
}  // namespace lowbit
