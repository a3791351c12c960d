#include "quant/fake_quantize.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <cstring>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/affine.h"
#include "quant/channel_grid.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

QuantParams PerTensor(int bits, float scale, float zero_point) {
  QuantParams params;
  params.bits = bits;
  params.scale = {scale};
  params.zero_point = {zero_point};
  return params;
}

// [N, C, H, W] with a different value everywhere, in steps of 0.01 from -n / 200.
at::Tensor Ramp(at::IntArrayRef shape) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  return ((at::arange(size, at::kFloat) - static_cast<double>(size) / 2) / 100).view(shape);
}

template <typename T = float>
std::vector<T> Values(const at::Tensor& x) {
  const at::Tensor dense = x.contiguous();
  return std::vector<T>(dense.data_ptr<T>(), dense.data_ptr<T>() + dense.numel());
}

std::vector<float> Specification(const at::Tensor& x, const QuantParams& params) {
  std::vector<float> values = Values(x);
  const size_t row = values.size() / params.scale.size();
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] =
        FakeQuantizeValue(values[i], params.scale[i / row], params.zero_point[i / row], params.qmin(), params.qmax());
  }
  return values;
}

TEST(FakeQuantizeTest, HandComputed) {
  const at::Tensor x = at::tensor({-9.0f, -0.26f, 0.0f, 0.75f, 1.25f, 9.0f});
  EXPECT_THAT(Values(FakeQuantize(x, PerTensor(4, 0.5f, 3))), ElementsAre(-5.5f, -0.5f, 0, 0.5f, 1.5f, 2));
  EXPECT_THAT(Values(x), ElementsAre(-9, -0.26f, 0, 0.75f, 1.25f, 9)) << "the input is not written to";
}

TEST(FakeQuantizeTest, PerChannelAlongTheFirstDimension) {
  QuantParams params = PerTensor(2, 1, 0);
  params.scale = {1, 0.1f};
  params.zero_point = {0, 1};
  const at::Tensor x = at::tensor({0.6f, -5.0f, 0.6f, -0.24f}).view({2, 2, 1, 1});
  EXPECT_THAT(Values(FakeQuantize(x, params)), ElementsAre(1, -2, 0, -0.2f));  // second row: codes 1 and -1
}

TEST(FakeQuantizeTest, EveryMemoryOrderGivesTheSameValuesAndIsKept) {
  const QuantParams params = PerTensor(5, 0.3f, 2);
  const at::Tensor x = Ramp({3, 5, 7, 4});
  const std::vector<float> wanted = Specification(x, params);
  const at::Tensor channels_last = x.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor strided = at::full({3, 5, 7, 8}, 99.0f).slice(3, 0, 8, 2).copy_(x);
  EXPECT_EQ(Values(FakeQuantize(x, params)), wanted);
  EXPECT_EQ(Values(FakeQuantize(channels_last, params)), wanted);
  EXPECT_EQ(Values(FakeQuantize(strided, params)), wanted);
  EXPECT_EQ(FakeQuantize(channels_last, params).strides(), channels_last.strides());
}

// The levels of one grid and the bases of another, in each memory order, against the specification.
TEST(FakeQuantizeTest, GridsThatAreNotUniform) {
  QuantParams levels = PerTensor(3, 0.05f, 1);
  levels.levels = {-9, -4, -1, 0, 2, 5, 30};
  QuantParams bases = PerTensor(2, 1, 0);
  bases.scale = {0.9f, 0.4f, 2};
  bases.zero_point = {0, 0.1f, -0.2f};
  bases.bases = {0.5f, 0.9f, 0.3f};
  QuantParams many = PerTensor(7, 0.01f, 0);
  for (int i = 0; i < 100; ++i) many.levels.push_back(i * i - 2000);
  const at::Tensor x = Ramp({3, 5, 7, 4});
  for (const QuantParams& params : {levels, bases, many}) {
    ASSERT_TRUE(params.Validate().ok()) << params.Validate();
    std::vector<float> wanted;
    std::vector<int32_t> codes;
    const std::vector<float> in = Values(x);
    for (size_t i = 0; i < in.size(); ++i) {
      const ChannelGrid grid(params, params.per_channel() ? i / (in.size() / 3) : 0);
      wanted.push_back(grid.FakeQuantize(in[i]));
      codes.push_back(grid.Quantize(in[i]));
    }
    for (const at::Tensor& ordered : {x, x.contiguous(at::MemoryFormat::ChannelsLast)}) {
      EXPECT_EQ(Values(FakeQuantize(ordered, params)), wanted);
      EXPECT_EQ(Values<int32_t>(Quantize(ordered, params)), codes);
      EXPECT_EQ(Values(Dequantize(Quantize(ordered, params), params)), wanted);
    }
    EXPECT_EQ(Values(FakeQuantizeInPlace(x.clone(), params)), wanted);
  }
}

TEST(FakeQuantizeTest, PerChannelInEveryMemoryOrder) {
  QuantParams params = PerTensor(3, 1, 0);
  params.scale = {0.1f, 0.2f, 0.3f};
  params.zero_point = {-1, 0, 1};
  const at::Tensor x = Ramp({3, 2, 3, 3});
  const std::vector<float> wanted = Specification(x, params);
  EXPECT_EQ(Values(FakeQuantize(x, params)), wanted);
  EXPECT_EQ(Values(FakeQuantize(x.contiguous(at::MemoryFormat::ChannelsLast), params)), wanted);
  EXPECT_EQ(Values(FakeQuantize(x.transpose(2, 3).contiguous().transpose(2, 3), params)), wanted);
  EXPECT_EQ(Values(FakeQuantize(x.transpose(0, 1).contiguous().transpose(0, 1), params)), wanted);
}

TEST(FakeQuantizeTest, InPlaceWritesIntoDenseMemory) {
  const QuantParams params = PerTensor(4, 0.25f, 0);
  for (const at::Tensor& x : {Ramp({2, 3, 4, 4}), Ramp({2, 3, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast)}) {
    const std::vector<float> wanted = Specification(x, params);
    const at::Tensor y = FakeQuantizeInPlace(x, params);
    EXPECT_EQ(y.data_ptr(), x.data_ptr());
    EXPECT_EQ(Values(y), wanted);
  }
}

TEST(FakeQuantizeTest, InPlaceLeavesTheMemoryOfOthersAlone) {
  const at::Tensor all = at::full({4, 8}, 0.3f);
  const at::Tensor part = all.slice(1, 0, 8, 2);
  const at::Tensor y = FakeQuantizeInPlace(part, PerTensor(4, 1, 0));
  EXPECT_THAT(Values(y), testing::Each(0));
  EXPECT_THAT(Values(all), testing::Each(0.3f));
}

TEST(FakeQuantizeTest, ThreadsDoNotChangeABit) {
  const QuantParams params = PerTensor(8, 0.013f, -5);
  const at::Tensor x = Ramp({300001});  // several chunks, the last one short
  at::set_num_threads(1);
  const std::vector<float> one = Values(FakeQuantize(x, params));
  at::set_num_threads(2);
  EXPECT_EQ(Values(FakeQuantize(x, params)), one);
  EXPECT_EQ(Specification(x, params), one);
}

TEST(FakeQuantizeTest, NothingIsFine) {
  EXPECT_EQ(FakeQuantize(at::full({0, 3}, 1.0f), PerTensor(8, 1, 0)).numel(), 0);
}

TEST(FakeQuantizeTest, NanShows) {
  const at::Tensor y = FakeQuantize(at::full({20}, std::numeric_limits<float>::quiet_NaN()), PerTensor(8, 1, 0));
  EXPECT_TRUE(y.isnan().all().item<bool>());
}

TEST(QuantizeTest, CodesAndBack) {
  QuantParams params = PerTensor(2, 1, 0);
  params.scale = {1, 0.1f};
  params.zero_point = {0, 1};
  const at::Tensor x = at::tensor({0.6f, -5.0f, 0.6f, -0.24f}).view({2, 2});
  const at::Tensor codes = Quantize(x, params);
  EXPECT_EQ(codes.scalar_type(), at::kInt);
  EXPECT_THAT(Values<int32_t>(codes), ElementsAre(1, -2, 1, -1));
  EXPECT_THAT(Values(Dequantize(codes, params)), ElementsAre(1, -2, 0, -0.2f));
}

TEST(QuantizeTest, ThereAndBackIsFakeQuantizeInEveryMemoryOrder) {
  QuantParams params = PerTensor(4, 0.07f, 2);
  const at::Tensor x = Ramp({3, 2, 3, 3});
  for (const at::Tensor& order : {x, x.contiguous(at::MemoryFormat::ChannelsLast), x.transpose(0, 3)}) {
    EXPECT_EQ(Values(Dequantize(Quantize(order, params), params)), Values(FakeQuantize(order, params)));
  }
}

TEST(FakeQuantizeDeathTest, RefusesWhatDoesNotFit) {
  QuantParams two = PerTensor(8, 1, 0);
  two.scale = {1, 1};
  two.zero_point = {0, 0};
  EXPECT_DEATH(FakeQuantize(at::full({3, 4}, 1.0f), two), "2 scales for a tensor of 2 dimensions");
  EXPECT_DEATH(FakeQuantize(at::full({3}, 1.0f), PerTensor(8, 0, 0)), "scale\\[0\\] must be finite and above 0");
  EXPECT_DEATH(FakeQuantize(at::full({3}, 1, at::kInt), PerTensor(8, 1, 0)), "wrong element type");
}

}  // namespace
}  // namespace lowbit
