#include "evaluation/metrics.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

// ---- ConfusionMatrix ----

TEST(ConfusionMatrixTest, CountsRowsColumnsAndDiagonal) {
  ConfusionMatrix confusion(3);
  EXPECT_EQ(confusion.num_classes(), 3);
  EXPECT_EQ(confusion.total(), 0);
  confusion.Add(0, 0);
  confusion.Add(0, 2);
  confusion.Add(0, 2);
  confusion.Add(2, 1);
  EXPECT_EQ(confusion.count(0, 2), 2);
  EXPECT_EQ(confusion.count(2, 0), 0);
  EXPECT_EQ(confusion.total(), 4);
  EXPECT_EQ(confusion.correct(), 1);
  EXPECT_EQ(confusion.label_count(0), 3);
  EXPECT_EQ(confusion.label_count(1), 0);
  EXPECT_EQ(confusion.prediction_count(2), 2);
  EXPECT_EQ(confusion.prediction_count(1), 1);
}

TEST(ConfusionMatrixTest, MergeAdds) {
  ConfusionMatrix a(2);
  a.Add(0, 1);
  ConfusionMatrix b(2);
  b.Add(0, 1);
  b.Add(1, 1);
  a.Merge(b);
  EXPECT_EQ(a.count(0, 1), 2);
  EXPECT_EQ(a.count(1, 1), 1);
  EXPECT_EQ(a.total(), 3);
}

TEST(ConfusionMatrixDeathTest, ChecksItsArguments) {
  ConfusionMatrix confusion(3);
  EXPECT_DEATH(confusion.Add(3, 0), "label 3, prediction 0 of 3 classes");
  EXPECT_DEATH(confusion.Add(0, -1), "label 0, prediction -1 of 3 classes");
  EXPECT_DEATH(confusion.Merge(ConfusionMatrix(2)), "2 and 3 classes");
}

// ---- ClassificationMetrics ----

// `count` images of class `label` that are taken for `prediction`.
void AddImages(int label, int prediction, int count, ClassificationMetrics& metrics) {
  std::vector<float> logits(static_cast<size_t>(metrics.num_classes()), 0.0f);
  logits[static_cast<size_t>(prediction)] = 1.0f;
  for (int i = 0; i < count; ++i) {
    const absl::Status status = metrics.Add(logits, {label});
    ASSERT_TRUE(status.ok()) << status;
  }
}

void ExpectScores(const PrecisionRecallF1& scores, double precision, double recall, double f1) {
  EXPECT_NEAR(scores.precision, precision, 1e-12);
  EXPECT_NEAR(scores.recall, recall, 1e-12);
  EXPECT_NEAR(scores.f1, f1, 1e-12);
}

TEST(ClassificationMetricsTest, HandComputed) {
  //                 taken for   0 1 2
  ClassificationMetrics metrics(3, 1);
  AddImages(0, 0, 3, metrics);  // 3 1 0
  AddImages(0, 1, 1, metrics);
  AddImages(1, 1, 2, metrics);  // 0 2 2
  AddImages(1, 2, 2, metrics);
  AddImages(2, 0, 1, metrics);  // 1 0 1
  AddImages(2, 2, 1, metrics);
  const ClassificationReport report = metrics.Report();
  EXPECT_EQ(report.images, 10);
  EXPECT_EQ(report.k, 1);
  EXPECT_DOUBLE_EQ(report.top1, 0.6);
  EXPECT_DOUBLE_EQ(report.topk, 0.6);
  ASSERT_EQ(report.per_class.size(), 3u);
  EXPECT_EQ(report.per_class[0].support, 4);
  EXPECT_EQ(report.per_class[1].support, 4);
  EXPECT_EQ(report.per_class[2].support, 2);
  // F1 is 2 hits / (support + predictions): 6 / 8, 4 / 7, 2 / 5.
  ExpectScores(report.per_class[0].scores, 3.0 / 4, 3.0 / 4, 3.0 / 4);
  ExpectScores(report.per_class[1].scores, 2.0 / 3, 2.0 / 4, 4.0 / 7);
  ExpectScores(report.per_class[2].scores, 1.0 / 3, 1.0 / 2, 2.0 / 5);
  ExpectScores(report.macro, (0.75 + 2.0 / 3 + 1.0 / 3) / 3, (0.75 + 0.5 + 0.5) / 3, (0.75 + 4.0 / 7 + 0.4) / 3);
  ExpectScores(report.micro, 0.6, 0.6, 0.6);
  ExpectScores(report.weighted, 0.4 * 0.75 + 0.4 * 2 / 3 + 0.2 / 3, 0.6, 0.4 * 0.75 + 0.4 * 4 / 7 + 0.2 * 0.4);
}

TEST(ClassificationMetricsTest, ClassesWithoutImagesOrPredictionsCountZero) {
  ClassificationMetrics metrics(4, 1);
  AddImages(0, 0, 1, metrics);
  AddImages(0, 1, 1, metrics);  // Class 1 is predicted but has no images,
  AddImages(2, 0, 2, metrics);  // class 2 has images but is not predicted, class 3 has neither.
  const ClassificationReport report = metrics.Report();
  ExpectScores(report.per_class[0].scores, 1.0 / 3, 1.0 / 2, 2.0 / 5);
  ExpectScores(report.per_class[1].scores, 0, 0, 0);
  ExpectScores(report.per_class[2].scores, 0, 0, 0);
  ExpectScores(report.per_class[3].scores, 0, 0, 0);
  ExpectScores(report.macro, 1.0 / 12, 1.0 / 8, 1.0 / 10);
  ExpectScores(report.weighted, 1.0 / 6, 1.0 / 4, 1.0 / 5);
  ExpectScores(report.micro, 0.25, 0.25, 0.25);
}

TEST(ClassificationMetricsTest, NothingAddedIsAllZeros) {
  const ClassificationReport report = ClassificationMetrics(2).Report();
  EXPECT_EQ(report.images, 0);
  EXPECT_EQ(report.k, 3);
  EXPECT_EQ(report.top1, 0);
  EXPECT_EQ(report.topk, 0);
  ASSERT_EQ(report.per_class.size(), 2u);
  ExpectScores(report.macro, 0, 0, 0);
  ExpectScores(report.micro, 0, 0, 0);
  ExpectScores(report.weighted, 0, 0, 0);
}

// The share of top-k hits of one image.
double TopK(const std::vector<float>& logits, int32_t label, int k) {
  ClassificationMetrics metrics(static_cast<int>(logits.size()), k);
  const absl::Status status = metrics.Add(logits, {label});
  EXPECT_TRUE(status.ok()) << status;
  return metrics.Report().topk;
}

TEST(ClassificationMetricsTest, TopThree) {
  const std::vector<float> logits = {0.1f, -2.0f, 5.0f, 0.2f, 3.0f};  // Best first: 2, 4, 3, 0, 1.
  EXPECT_EQ(TopK(logits, 2, 3), 1);
  EXPECT_EQ(TopK(logits, 4, 3), 1);
  EXPECT_EQ(TopK(logits, 3, 3), 1);
  EXPECT_EQ(TopK(logits, 0, 3), 0);
  EXPECT_EQ(TopK(logits, 1, 3), 0);
  EXPECT_EQ(TopK(logits, 4, 1), 0);
  EXPECT_EQ(TopK(logits, 0, 4), 1);
  EXPECT_EQ(TopK(logits, 1, 99), 1);

  ClassificationMetrics metrics(4, 3);
  ASSERT_TRUE(metrics.Add({4, 3, 2, 1, 1, 2, 3, 4, 4, 3, 2, 1}, {3, 3, 1}).ok());
  EXPECT_DOUBLE_EQ(metrics.Report().top1, 1.0 / 3);
  EXPECT_DOUBLE_EQ(metrics.Report().topk, 2.0 / 3);
}

TEST(ClassificationMetricsTest, OfEqualLogitsTheLowerClassComesFirst) {
  ClassificationMetrics metrics(4, 3);
  ASSERT_TRUE(metrics.Add({7, 7, 7, 7, 0, 7, 1, 7}, {3, 3}).ok());
  EXPECT_EQ(metrics.confusion().count(3, 0), 1);
  EXPECT_EQ(metrics.confusion().count(3, 1), 1);
  EXPECT_EQ(metrics.Report().topk, 0.5);  // Fourth of four, and second.
  const std::vector<float> same(5, -1.0f);
  EXPECT_EQ(TopK(same, 2, 3), 1);
  EXPECT_EQ(TopK(same, 3, 3), 0);
  // The two zeros are equal.
  EXPECT_EQ(TopK({-0.0f, 0.0f}, 0, 1), 1);
  EXPECT_EQ(TopK({-0.0f, 0.0f}, 1, 1), 0);
}

TEST(ClassificationMetricsTest, MergeEqualsAddingAll) {
  const std::vector<float> logits = {1, 2, 3, 4, 4, 3, 2, 1, 0, 5, 5, 1, 2, 1, 0, -1};
  const std::vector<int32_t> labels = {3, 3, 2, 0};
  ClassificationMetrics all(4, 2), first(4, 2), second(4, 2);
  ASSERT_TRUE(all.Add(logits, labels).ok());
  ASSERT_TRUE(first.Add({logits.data(), 4}, {labels.data(), 1}).ok());
  ASSERT_TRUE(second.Add({logits.data() + 4, 12}, {labels.data() + 1, 3}).ok());
  first.Merge(second);
  first.Merge(ClassificationMetrics(4, 2));
  for (int label = 0; label < 4; ++label) {
    for (int c = 0; c < 4; ++c) EXPECT_EQ(first.confusion().count(label, c), all.confusion().count(label, c));
  }
  EXPECT_EQ(all.Report().topk, 0.75);
  EXPECT_EQ(first.Report().topk, 0.75);
  EXPECT_EQ(first.Report().macro.f1, all.Report().macro.f1);
}

TEST(ClassificationMetricsDeathTest, MergeWantsTheSameKind) {
  ClassificationMetrics metrics(4, 2);
  EXPECT_DEATH(metrics.Merge(ClassificationMetrics(4, 3)), "top-3 and top-2");
  EXPECT_DEATH(metrics.Merge(ClassificationMetrics(3, 2)), "3 and 4 classes");
}

// ---- Errors ----

class ClassificationMetricsErrorTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(metrics_.Add({1, 0, 0, 0, 1, 0}, {0, 2}).ok()); }
  void TearDown() override {
    // Nothing was added by the calls that failed, not even what was good in them.
    EXPECT_EQ(metrics_.Report().images, 2);
    EXPECT_EQ(metrics_.Report().topk, 1);
  }

  ClassificationMetrics metrics_{3, 3};
};

TEST_F(ClassificationMetricsErrorTest, SizesThatDoNotAgree) {
  EXPECT_EQ(metrics_.Add({1, 2, 3, 4, 5}, {0, 1}),
            absl::InvalidArgumentError("5 logits and 0 indices for 2 labels of 3 classes"));
  EXPECT_EQ(metrics_.Add({1, 2, 3}, {}),
            absl::InvalidArgumentError("3 logits and 0 indices for 0 labels of 3 classes"));
  EXPECT_EQ(metrics_.Add({1, 2, 3}, {0}, {5, 6}),
            absl::InvalidArgumentError("3 logits and 2 indices for 1 labels of 3 classes"));
}

TEST_F(ClassificationMetricsErrorTest, LabelOutOfRange) {
  EXPECT_EQ(metrics_.Add({1, 2, 3, 1, 2, 3}, {0, 3}, {40, 41}),
            absl::InvalidArgumentError("image 41: label 3, wanted 0 to 2"));
  EXPECT_EQ(metrics_.Add({1, 2, 3}, {-1}, {40}), absl::InvalidArgumentError("image 40: label -1, wanted 0 to 2"));
}

TEST_F(ClassificationMetricsErrorTest, LogitThatIsNotFinite) {
  const float nan = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(metrics_.Add({1, 2, 3, 1, nan, 3}, {0, 0}, {17, 4}),
            absl::InvalidArgumentError("image 4: the logit of class 1 is nan"));
  EXPECT_EQ(metrics_.Add({1, 2, -infinity}, {0}, {17}),
            absl::InvalidArgumentError("image 17: the logit of class 2 is -inf"));
  EXPECT_EQ(metrics_.Add({infinity, 2, 3}, {0}, {17}),
            absl::InvalidArgumentError("image 17: the logit of class 0 is inf"));
}

TEST_F(ClassificationMetricsErrorTest, WithoutIndicesImagesAreCountedOverAllCalls) {
  // Two were added before, and the first of this call is good: number 3.
  EXPECT_EQ(metrics_.Add({1, 2, 3, std::nanf(""), 2, 3}, {0, 0}),
            absl::InvalidArgumentError("image 3: the logit of class 0 is nan"));
}

}  // namespace
}  // namespace lowbit
