#include "pipeline/tensor_histogram.h"

#include <ATen/ops/tensor.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

TEST(TensorHistogram, OfATensorInAnyLayout) {
  const at::Tensor tensor = at::tensor({0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 60.0f}).view({2, 3}).requires_grad_(true);
  for (const HistogramSummary& summary : {SummarizeTensor(tensor), SummarizeTensor(tensor.t())}) {
    EXPECT_EQ(summary.count, 6);
    EXPECT_EQ(summary.sum, 70);
    EXPECT_THAT(summary.limits, ElementsAre(1, 2, 3, 4, 5, 59, 60));
    EXPECT_THAT(summary.counts, ElementsAre(1, 1, 1, 1, 1, 0, 1));
  }
  // Every second number.
  EXPECT_EQ(SummarizeTensor(tensor.view({6}).slice(0, 0, 6, 2)).sum, 6);
}

Histogram Bins() {
  Histogram bins;
  bins.GrowToHold(3);  // bins of 2 * 4 / 4096
  const float values[] = {0, 0, 0.25f, 1, 3};
  bins.Add(values, 5);
  return bins;
}

TEST(TensorHistogram, NumbersCountAsTheMiddleOfTheirBin) {
  const HistogramSummary summary = SummarizeBins(Bins());
  const double half = 4.0 / 4096;
  EXPECT_EQ(summary.count, 5);
  EXPECT_DOUBLE_EQ(summary.min, half);
  EXPECT_DOUBLE_EQ(summary.max, 3 + half);
  EXPECT_DOUBLE_EQ(summary.sum, 4.25 + 5 * half);
}

TEST(TensorHistogram, QuantizedNumbersAreThoseOfTheCodes) {
  QuantParams params;
  params.bits = 2;
  params.is_signed = false;
  params.scale = {0.5f};
  params.zero_point = {0};
  // 0, 0, 0.5 (0.25 and half a bin), 1, and 1.5, the largest there is.
  const HistogramSummary summary = SummarizeQuantizedBins(Bins(), params);
  EXPECT_EQ(summary.min, 0);
  EXPECT_EQ(summary.max, 1.5);
  EXPECT_EQ(summary.sum, 3);
  EXPECT_THAT(summary.counts, ElementsAre(2, 0, 1, 0, 1, 0, 1));
}

}  // namespace
}  // namespace lowbit
