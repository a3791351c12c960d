#include "corrections/channel_statistics.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::IsEmpty;

at::Tensor Random(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
  return x;
}

// Channel 0 sees 1, 3, 5, 7; channel 1 sees 2, 2, 2, 2.
TEST(ChannelStatisticsTest, HandComputed) {
  ChannelStatistics statistics;
  ASSERT_TRUE(statistics.Observe(at::tensor({1.0f, 3.0f, 2.0f, 2.0f, 5.0f, 7.0f, 2.0f, 2.0f}).view({2, 2, 1, 2})).ok());
  EXPECT_EQ(statistics.count(), 4);
  EXPECT_THAT(statistics.moments().mean, ElementsAre(4, 2));
  EXPECT_THAT(statistics.moments().std, ElementsAre(DoubleEq(std::sqrt(5.0)), 0));
}

TEST(ChannelStatisticsTest, FlatTensors) {
  ChannelStatistics statistics;
  ASSERT_TRUE(statistics.Observe(at::tensor({1.0f, -1.0f, 3.0f, -1.0f}).view({2, 2})).ok());
  EXPECT_EQ(statistics.count(), 2);
  EXPECT_THAT(statistics.moments().mean, ElementsAre(2, -1));
  EXPECT_THAT(statistics.moments().std, ElementsAre(1, 0));
}

TEST(ChannelStatisticsTest, NoImages) {
  EXPECT_EQ(ChannelStatistics().count(), 0);
  EXPECT_THAT(ChannelStatistics().moments().mean, IsEmpty());
}

TEST(ChannelStatisticsTest, RefusesTensorsWithoutValues) {
  ChannelStatistics statistics;
  EXPECT_EQ(statistics.Observe(at::empty({0, 3, 4, 4})).message(),
            "there are no values, in a tensor of shape [0, 3, 4, 4]");
  EXPECT_EQ(statistics.Observe(at::empty({2, 3, 0, 4})).message(),
            "there are no values, in a tensor of shape [2, 3, 0, 4]");
  EXPECT_EQ(statistics.count(), 0);
}

// A mean that is large against the spread costs a sum of squares its digits.
TEST(ChannelStatisticsTest, SmallSpreadAroundALargeMean) {
  ChannelStatistics statistics;
  const at::Tensor x = Random({50, 1, 8, 8}, 1).mul(0.01).add(4096);
  ASSERT_TRUE(statistics.Observe(x).ok());
  const at::Tensor exact = x.to(at::kDouble);
  EXPECT_DOUBLE_EQ(statistics.moments().mean[0], exact.mean().item<double>());
  EXPECT_NEAR(statistics.moments().std[0], exact.std(/*unbiased=*/false).item<double>(), 1e-12);
}

TEST(ChannelStatisticsTest, NeitherBatchesNorThreadsNorMemoryOrderMatter) {
  const at::Tensor x = Random({10, 3, 5, 7}, 2);
  ChannelStatistics whole, parts;
  ASSERT_TRUE(whole.Observe(x).ok());
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  ASSERT_TRUE(parts.Observe(x.narrow(0, 0, 3)).ok());
  ASSERT_TRUE(parts.Observe(x.narrow(0, 3, 7).contiguous(at::MemoryFormat::ChannelsLast)).ok());
  at::set_num_threads(threads);
  EXPECT_EQ(whole.count(), parts.count());
  EXPECT_EQ(whole.moments().mean, parts.moments().mean);
  EXPECT_EQ(whole.moments().std, parts.moments().std);
}

TEST(ChannelStatisticsTest, RefusesWhatIsNotFiniteAndKeepsWhatItHas) {
  ChannelStatistics statistics;
  ASSERT_TRUE(statistics.Observe(at::full({2, 2, 2, 2}, 1.0, at::kFloat)).ok());
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor x = at::full({2, 2, 2, 2}, 3.0, at::kFloat);
    x[1][1][0][0] = bad;
    EXPECT_EQ(statistics.Observe(x).message(), "channel 1 has NaN or infinite values");
  }
  EXPECT_EQ(statistics.count(), 8);
  EXPECT_THAT(statistics.moments().mean, ElementsAre(1, 1));
}

}  // namespace
}  // namespace lowbit
