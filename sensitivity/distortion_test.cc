#include "sensitivity/distortion.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(DistortionTest, ByHand) {
  Distortion distortion;
  distortion.Add(at::tensor({3.0f, 4.0f}), at::tensor({3.0f, 3.0f}));
  EXPECT_DOUBLE_EQ(distortion.signal, 25);
  EXPECT_DOUBLE_EQ(distortion.noise, 1);
  EXPECT_NEAR(distortion.sqnr_db(), 13.9794, 1e-4);  // 10 log10(25)
  EXPECT_NEAR(distortion.cosine(), 0.989949, 1e-6);  // 21 / (5 sqrt(18))
}

TEST(DistortionTest, SumsOverBatchesAndMemoryOrders) {
  const at::Tensor x = at::arange(2 * 3 * 200 * 200, at::kFloat).remainder(7).view({2, 3, 200, 200});
  const at::Tensor y = x.mul(0.5);
  Distortion whole, parts;
  whole.Add(x, y);
  parts.Add(x.narrow(0, 0, 1), y.narrow(0, 0, 1).contiguous(at::MemoryFormat::ChannelsLast));
  parts.Add(x.narrow(0, 1, 1), y.narrow(0, 1, 1));
  EXPECT_NEAR(whole.sqnr_db(), 6.0206, 1e-4);
  EXPECT_NEAR(parts.noise / whole.noise, 1, 1e-12);
  EXPECT_NEAR(parts.product / whole.product, 1, 1e-12);
}

TEST(DistortionTest, WithoutNoiseOrSignal) {
  Distortion same, lost;
  same.Add(at::zeros({4}), at::zeros({4}));
  EXPECT_EQ(same.sqnr_db(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(same.cosine(), 1);
  lost.Add(at::zeros({2}), at::tensor({1.0f, 0.0f}));
  EXPECT_EQ(lost.sqnr_db(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(lost.cosine(), 0);
}

}  // namespace
}  // namespace lowbit
