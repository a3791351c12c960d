#include "quant/input_statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include <limits>
#include <string>
#include <vector>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/input_rows.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
  return x;
}

Conv2d Conv(int64_t in, int64_t out, Pair kernel, Pair padding, Pair stride = {1, 1}, Pair dilation = {1, 1},
            int64_t groups = 1) {
  Conv2d conv;
  conv.in_channels = in;
  conv.out_channels = out;
  conv.kernel = kernel;
  conv.padding = padding;
  conv.stride = stride;
  conv.dilation = dilation;
  conv.groups = groups;
  return conv;
}

std::vector<double> Numbers(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.to(at::kDouble).contiguous();
  return std::vector<double>(dense.data_ptr<double>(), dense.data_ptr<double>() + dense.numel());
}

// Two images of two features: (1, 2) and (3, 0).
TEST(InputStatisticsTest, HandComputedLinear) {
  InputStatistics statistics(Linear{2, 5, true});
  ASSERT_TRUE(statistics.Observe(at::tensor({1.0f, 2.0f, 3.0f, 0.0f}).view({2, 2})).ok());
  EXPECT_EQ(statistics.images(), 2);
  EXPECT_EQ(statistics.rows(), 2);
  EXPECT_THAT(Numbers(statistics.Mean()), ElementsAre(2, 1));
  EXPECT_THAT(Numbers(statistics.Gram()), ElementsAre(5, 1, 1, 2));
}

// A 1x3 kernel over the image (1, 2), padded: the rows (0, 1, 2) and (1, 2, 0).
TEST(InputStatisticsTest, PaddingCountsAsZeros) {
  InputStatistics statistics(Conv(1, 1, {1, 3}, {0, 1}));
  ASSERT_TRUE(statistics.Observe(at::tensor({1.0f, 2.0f}).view({1, 1, 1, 2})).ok());
  EXPECT_EQ(statistics.rows(), 2);
  EXPECT_THAT(Numbers(statistics.Mean()), ElementsAre(0.5, 1.5, 1));
  EXPECT_THAT(Numbers(statistics.Gram()), ElementsAre(0.5, 1, 0, 1, 2.5, 1, 0, 1, 2));
}

// What the rows are for: a layer's output is their product with its weight, whatever the convolution.
TEST(InputRowsTest, RowsTimesWeightsIsTheConvolution) {
  const std::vector<Conv2d> convs = {
      Conv(4, 6, {3, 3}, {1, 1}),
      Conv(4, 6, {3, 1}, {2, 0}, {2, 1}),
      Conv(4, 6, {3, 3}, {2, 2}, {1, 1}, {2, 2}),
      Conv(4, 4, {3, 3}, {1, 1}, {2, 2}, {1, 1}, 4),
      Conv(4, 6, {2, 3}, {0, 1}, {1, 1}, {1, 1}, 2),
  };
  for (const Conv2d& conv : convs) {
    const Op op = conv;
    for (const int64_t side : {5, 21}) {
      const at::Tensor x = Normal({3, conv.in_channels, side, side}, 1);
      const at::Tensor weight =
          Normal({conv.out_channels, conv.in_channels / conv.groups, conv.kernel[0], conv.kernel[1]}, 2);
      const at::Tensor y =
          at::convolution(x, weight, {}, conv.stride, conv.padding, conv.dilation, false, {0, 0}, conv.groups);
      const at::Tensor rows = GatherInputRows(op, x.contiguous(at::MemoryFormat::ChannelsLast), /*first_image=*/5);
      const at::Tensor by_group = weight.view({conv.groups, conv.out_channels / conv.groups, RowSize(op)});
      EXPECT_TRUE(at::allclose(at::matmul(rows, by_group.transpose(1, 2)), GatherOutputRows(op, y, 5), 1e-4, 1e-4));
    }
  }
}

// 32 x 32 positions: every fourth row and column, 64 for each image; 16 images see each position once.
TEST(InputRowsTest, ALatticeOfPositionsThatShifts) {
  const Op op = Conv(1, 1, {1, 1}, {0, 0});
  at::Tensor image = at::empty({1, 1, 32, 32}, at::kFloat);
  for (int64_t i = 0; i < 1024; ++i) image.data_ptr<float>()[i] = static_cast<float>(i);
  std::vector<int> seen(1024, 0);
  for (int64_t n = 0; n < 16; ++n) {
    const at::Tensor rows = GatherInputRows(op, image, n);
    ASSERT_EQ(rows.size(1), 64);
    for (const double position : Numbers(rows)) ++seen[static_cast<size_t>(position)];
  }
  EXPECT_THAT(seen, testing::Each(1));
  const std::vector<double> second = Numbers(GatherInputRows(op, image, 6));  // h = 6 / 4 = 1, w = 6 mod 4 = 2
  EXPECT_EQ(second[0], 1 * 32 + 2);
  EXPECT_EQ(second[1], 1 * 32 + 6);
  EXPECT_EQ(GatherInputRows(op, image.narrow(3, 0, 8).narrow(2, 0, 8), 3).size(1), 64) << "all of a small one";
}

TEST(InputStatisticsTest, BatchesAndPartsComeToTheSame) {
  const Op op = Conv(3, 4, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1);
  const at::Tensor x = Normal({150, 3, 11, 9}, 3);
  InputStatistics whole(op), batches(op), first(op), second(op, /*first_image=*/70);
  ASSERT_TRUE(whole.Observe(x).ok());
  for (const int64_t begin : {0, 50, 100}) ASSERT_TRUE(batches.Observe(x.narrow(0, begin, 50)).ok());
  ASSERT_TRUE(first.Observe(x.narrow(0, 0, 70)).ok());
  ASSERT_TRUE(second.Observe(x.narrow(0, 70, 80)).ok());
  first.Merge(second);
  for (const InputStatistics* other : {&batches, &first}) {
    EXPECT_EQ(other->images(), 150);
    EXPECT_EQ(other->rows(), whole.rows());
    EXPECT_TRUE(at::allclose(other->Gram(), whole.Gram(), 1e-5, 1e-6));
    EXPECT_TRUE(at::allclose(other->Mean(), whole.Mean(), 1e-9, 1e-9));
  }
  EXPECT_TRUE(at::equal(whole.Gram(), whole.Gram().transpose(1, 2))) << "symmetric";
}

// More columns than one block of the product, against the plain one.
TEST(InputStatisticsTest, LargeGramMatrices) {
  const at::Tensor x = Normal({100, 500}, 4);
  InputStatistics statistics(Linear{500, 3, false});
  ASSERT_TRUE(statistics.Observe(x).ok());
  const at::Tensor exact = x.to(at::kDouble);
  const at::Tensor expected = at::matmul(exact.t(), exact) / 100.0;
  EXPECT_TRUE(at::allclose(statistics.Gram()[0], expected, 1e-4, 1e-4));
}

TEST(InputStatisticsTest, HugeNumbersStayFinite) {
  InputStatistics statistics(Linear{2, 1, true});
  ASSERT_TRUE(statistics.Observe(at::tensor({1e30f, 1.0f}).view({1, 2})).ok());
  EXPECT_NEAR(statistics.Gram()[0][0][0].item<double>() / 1e60, 1, 1e-6);
  EXPECT_NEAR(statistics.Gram()[0][0][1].item<double>() / 1e30, 1, 1e-6);
}

TEST(InputStatisticsTest, RefusesWhatIsNoInput) {
  InputStatistics statistics(Conv(2, 1, {1, 1}, {0, 0}));
  at::Tensor x = at::full({3, 2, 4, 4}, 1.0f);
  EXPECT_EQ(statistics.Observe(x.narrow(1, 0, 1)).message(), "expected Float [N, 2, H, W], got Float [3, 1, 4, 4]");
  x[1][0][2][3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(statistics.Observe(x).message(), "1 of 96 values are NaN or infinite");
  EXPECT_EQ(statistics.images(), 0);
  EXPECT_TRUE(statistics.Fits(Conv(2, 7, {1, 1}, {0, 0})));
  EXPECT_FALSE(statistics.Fits(Conv(2, 2, {1, 1}, {0, 0}, {1, 1}, {1, 1}, 2)));
  EXPECT_FALSE(statistics.Fits(Relu{}));
}

}  // namespace
}  // namespace lowbit
