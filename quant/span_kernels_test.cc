#include "quant/span_kernels.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "base/random.h"
#include "gtest/gtest.h"
#include "quant/affine.h"
#include "quant/channel_grid.h"
#include "quant/quant_params.h"

namespace lowbit {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Kernel = void (*)(const float*, float*, int64_t, float, float, int32_t, int32_t, float);

uint32_t Bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

float FromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

QuantParams Params(int bits, bool is_signed, float scale, float zero_point) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.scale = {scale};
  params.zero_point = {zero_point};
  return params;
}

// Grids of every width, signed and not, with zero points inside, at the ends and between codes.
std::vector<QuantParams> Grids() {
  std::vector<QuantParams> grids;
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, 16}) {
    for (const bool is_signed : {false, true}) {
      QuantParams params = Params(bits, is_signed, 1, 0);
      const float middle = std::floor(static_cast<float>(params.qmin() + params.qmax()) / 2);
      for (const float zero_point :
           {0.0f, -0.5f, middle, static_cast<float>(params.qmin()), static_cast<float>(params.qmax() + 1)}) {
        for (const float scale : {0.1f, 0.0078125f, 3e-5f, 1e-20f, 1e20f}) {
          grids.push_back(Params(bits, is_signed, scale, zero_point));
        }
      }
    }
  }
  return grids;
}

// Numbers at which such arithmetic goes wrong: ties and their neighbours, the ends of the grid, zeros, denormals,
// infinities, NaN; and plain ones.
std::vector<float> Inputs(const QuantParams& params) {
  std::vector<float> inputs = {0.0f,          -0.0f,          kInfinity,     -kInfinity,    kNan,
                               3.4028235e38f, -3.4028235e38f, 1e-45f,        -1e-45f,       1.17549435e-38f,
                               8388608.5f,    16777217.0f,    2147483648.0f, -2147483648.0f};
  const float scale = params.scale[0];
  const float zero_point = params.zero_point[0];
  const int32_t last = std::min(params.qmax(), params.qmin() + 300);
  for (int32_t q = params.qmin() - 2; q <= last; ++q) {
    for (const float between : {0.0f, 0.25f, 0.5f}) {
      const float x = (static_cast<float>(q) + between - zero_point) * scale;
      inputs.push_back(x);
      inputs.push_back(std::nextafter(x, kInfinity));
      inputs.push_back(std::nextafter(x, -kInfinity));
    }
  }
  Rng rng({static_cast<uint64_t>(params.bits), params.is_signed});
  for (int i = 0; i < 300; ++i) {
    const double grid = std::ldexp(1.0, params.bits);
    inputs.push_back(static_cast<float>(rng.Uniform(-grid, grid) * static_cast<double>(scale)));
    inputs.push_back(FromBits(static_cast<uint32_t>(rng.Next())));
  }
  return inputs;
}

void ExpectSameBits(const std::vector<float>& inputs, const std::vector<float>& outputs, const QuantParams& params) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const float wanted =
        FakeQuantizeValue(inputs[i], params.scale[0], params.zero_point[0], params.qmin(), params.qmax());
    const bool same = std::isnan(wanted) ? std::isnan(outputs[i]) : Bits(wanted) == Bits(outputs[i]);
    ASSERT_TRUE(same) << params.bits << " bits, scale " << params.scale[0] << ", zero point " << params.zero_point[0]
                      << ": " << inputs[i] << " became " << outputs[i] << " instead of " << wanted;
  }
}

class FakeQuantizeSpanTest : public testing::TestWithParam<Kernel> {};

TEST_P(FakeQuantizeSpanTest, EqualsTheSpecificationBitForBit) {
  for (const QuantParams& params : Grids()) {
    const std::vector<float> inputs = Inputs(params);
    const int64_t size = static_cast<int64_t>(inputs.size());
    std::vector<float> outputs(inputs.size());
    GetParam()(inputs.data(), outputs.data(), size, params.scale[0], params.zero_point[0], params.qmin(), params.qmax(),
               params.scale[0]);
    ASSERT_NO_FATAL_FAILURE(ExpectSameBits(inputs, outputs, params));
    std::vector<float> in_place = inputs;
    GetParam()(in_place.data(), in_place.data(), size, params.scale[0], params.zero_point[0], params.qmin(),
               params.qmax(), params.scale[0]);
    ASSERT_NO_FATAL_FAILURE(ExpectSameBits(inputs, in_place, params));
  }
}

// A million floats spread over all bit patterns, for a grid of each width.
TEST_P(FakeQuantizeSpanTest, EqualsTheSpecificationOverAllMagnitudes) {
  std::vector<float> inputs;
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 4099)
    inputs.push_back(FromBits(static_cast<uint32_t>(bits)));
  std::vector<float> outputs(inputs.size());
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, 16}) {
    const QuantParams params = Params(bits, true, 0.037f, bits == 1 ? -0.5f : 1);
    GetParam()(inputs.data(), outputs.data(), static_cast<int64_t>(inputs.size()), params.scale[0],
               params.zero_point[0], params.qmin(), params.qmax(), params.scale[0]);
    ASSERT_NO_FATAL_FAILURE(ExpectSameBits(inputs, outputs, params));
  }
}

// The parts of a span that do not fill a vector, wherever it starts in memory; and nothing beyond its ends.
TEST_P(FakeQuantizeSpanTest, StaysInsideOfEverySpan) {
  for (int64_t offset = 0; offset < 9; ++offset) {
    for (int64_t size = 0; size < 40; ++size) {
      std::vector<float> values(64, 0.3f);
      GetParam()(values.data() + offset, values.data() + offset, size, 1, 0, -8, 7, 1);
      for (int64_t i = 0; i < 64; ++i) {
        const bool inside = i >= offset && i < offset + size;
        ASSERT_EQ(values[static_cast<size_t>(i)], inside ? 0.0f : 0.3f) << i << " of " << offset << " + " << size;
      }
    }
  }
}

TEST_P(FakeQuantizeSpanTest, StepsComeOutAsTheUnit) {
  for (const QuantParams& params : {Params(3, true, 0.7f, 1), Params(8, false, 0.013f, 3), Params(1, true, 2, -0.5f)}) {
    const std::vector<float> inputs = Inputs(params);
    std::vector<float> outputs(inputs.size());
    GetParam()(inputs.data(), outputs.data(), static_cast<int64_t>(inputs.size()), params.scale[0],
               params.zero_point[0], params.qmin(), params.qmax(), 0.25f);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (std::isnan(inputs[i])) continue;
      const int32_t q = QuantizeValue(inputs[i], params.scale[0], params.zero_point[0], params.qmin(), params.qmax());
      ASSERT_EQ(outputs[i], (static_cast<float>(q) - params.zero_point[0]) * 0.25f) << inputs[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, FakeQuantizeSpanTest, testing::Values(&FakeQuantizeSpan, &FakeQuantizeSpanPortable),
                         [](const auto& info) { return info.index == 0 ? "Dispatched" : "Portable"; });

TEST(MultiplyAddSpanTest, RoundsTwice) {
  constexpr size_t kMost = 40;
  Rng rng({5});
  std::vector<float> factor(kMost), addend(kMost), before(kMost);
  for (size_t i = 0; i < kMost; ++i) {
    factor[i] = static_cast<float>(rng.Uniform01());
    addend[i] = static_cast<float>(rng.Uniform01() - 1);
    before[i] = static_cast<float>(100 * rng.Uniform01());
  }
  for (size_t size = 0; size <= kMost; ++size) {
    std::vector<float> y = before;
    MultiplyAddSpan(factor.data(), addend.data(), y.data(), static_cast<int64_t>(size));
    for (size_t i = 0; i < kMost; ++i) {
      volatile const float product = before[i] * factor[i];
      ASSERT_EQ(y[i], i < size ? product + addend[i] : before[i]) << i << " of " << size;
    }
  }
}

TEST(SummarizeSpanTest, EveryLengthAndPosition) {
  // Around the size of a vector, and around the 1024 values of a block.
  for (const int64_t size : {1, 2, 15, 16, 17, 1023, 1024, 1025, 2048, 3000}) {
    std::vector<float> values(static_cast<size_t>(size), 0.5f);
    for (int64_t i = 0; i < size; i += (size > 100 ? 37 : 1)) {
      values[static_cast<size_t>(i)] = -3;
      SpanSummary summary = SummarizeSpan(values.data(), size);
      EXPECT_EQ(summary.min, -3);
      EXPECT_EQ(summary.max, size == 1 ? -3 : 0.5f);
      EXPECT_DOUBLE_EQ(summary.sum_abs, 0.5 * static_cast<double>(size - 1) + 3);
      EXPECT_EQ(summary.not_finite, 0);
      values[static_cast<size_t>(i)] = 7;
      EXPECT_EQ(SummarizeSpan(values.data(), size).max, 7);
      values[static_cast<size_t>(i)] = kNan;
      EXPECT_EQ(SummarizeSpan(values.data(), size).not_finite, 1);
      values[static_cast<size_t>(i)] = -kInfinity;
      EXPECT_EQ(SummarizeSpan(values.data(), size).not_finite, 1);
      values[static_cast<size_t>(i)] = 0.5f;
    }
  }
}

TEST(SummarizeSpanTest, CountsEveryValueThatIsNotFinite) {
  std::vector<float> values(5000, 1);
  for (const int i : {0, 1023, 1024, 1030, 4999}) values[static_cast<size_t>(i)] = i % 2 == 0 ? kNan : kInfinity;
  EXPECT_EQ(SummarizeSpan(values.data(), 5000).not_finite, 5);
}

TEST(SummarizeSpanTest, SumsBeyondTheRangeOfFloat) {
  const std::vector<float> values(2048, 3e38f);
  const SpanSummary summary = SummarizeSpan(values.data(), 2048);
  EXPECT_EQ(summary.not_finite, 0);
  EXPECT_DOUBLE_EQ(summary.sum_abs, 2048 * static_cast<double>(3e38f));
  EXPECT_EQ(summary.max, 3e38f);
}

TEST(SummarizeSpanTest, NothingHasNoExtremes) {
  const SpanSummary summary = SummarizeSpan(nullptr, 0);
  EXPECT_EQ(summary.min, kInfinity);
  EXPECT_EQ(summary.max, -kInfinity);
  EXPECT_EQ(summary.sum_abs, 0);
}

// Both variants, at sizes around their blocks, in place and not.
TEST(FakeQuantizeLevelsSpanTest, BothVariantsAreTheSpecification) {
  QuantParams few = Params(3, false, 0.1f, -2);
  few.levels = {0, 1, 3, 4, 9};
  QuantParams many = Params(8, true, 3e-3f, 7);
  for (int i = -128; i < 128; ++i) many.levels.push_back(i * std::abs(i));
  for (const QuantParams& params : {few, many}) {
    ASSERT_TRUE(params.Validate().ok()) << params.Validate();
    const ChannelGrid grid(params, 0);
    std::vector<float> inputs = Inputs(params);
    for (const float midpoint : grid.midpoints()) inputs.push_back((midpoint - params.zero_point[0]) * params.scale[0]);
    for (const auto kernel : {FakeQuantizeLevelsSpan, FakeQuantizeLevelsSpanPortable}) {
      for (const size_t size : {size_t{1}, size_t{255}, size_t{256}, size_t{257}, inputs.size()}) {
        std::vector<float> out(size, -1);
        kernel(inputs.data(), out.data(), static_cast<int64_t>(size), params.scale[0], params.zero_point[0],
               grid.levels(), grid.midpoints(), params.scale[0]);
        std::vector<float> in_place(inputs.begin(), inputs.begin() + static_cast<int64_t>(size));
        kernel(in_place.data(), in_place.data(), static_cast<int64_t>(size), params.scale[0], params.zero_point[0],
               grid.levels(), grid.midpoints(), params.scale[0]);
        for (size_t i = 0; i < size; ++i) {
          const float wanted = grid.FakeQuantize(inputs[i]);
          ASSERT_TRUE(out[i] == wanted || (std::isnan(wanted) && std::isnan(out[i]))) << inputs[i];
          ASSERT_TRUE(in_place[i] == wanted || (std::isnan(wanted) && std::isnan(in_place[i]))) << inputs[i];
        }
      }
    }
  }
}

TEST(SubtractMultipleTest, HandComputed) {
  const std::vector<double> x = {1, -2, 0, 0.5};
  std::vector<double> y = {10, 10, 10, 10};
  SubtractMultiple(3, x.data(), y.data(), 3);
  EXPECT_EQ(y, (std::vector<double>{7, 16, 10, 10}));
}

// (1 + e)^2 = 1 + 2 e + e^2, of which the product keeps no e^2.
TEST(SubtractMultipleTest, IsNotFused) {
  const double e = std::ldexp(1.0, -30);
  const std::vector<double> x(9, 1 + e);
  std::vector<double> y(9, 1);
  SubtractMultiple(1 + e, x.data(), y.data(), 9);
  EXPECT_EQ(y, std::vector<double>(9, -2 * e));
}

TEST(SubtractMultipleTest, EveryLengthBitForBitAndNothingBeyond) {
  Rng rng({5});
  for (int64_t size = 0; size <= 40; ++size) {
    std::vector<double> x, y;
    for (int i = 0; i < 48; ++i) {
      x.push_back(rng.Normal());
      y.push_back(rng.Normal());
    }
    std::vector<double> expected = y;
    for (int64_t i = 0; i < size; ++i) {
      const volatile double product = 0.7 * x[static_cast<size_t>(i)];
      expected[static_cast<size_t>(i) + 3] -= product;
    }
    SubtractMultiple(0.7, x.data(), y.data() + 3, size);
    EXPECT_EQ(y, expected) << size;
  }
}

}  // namespace
}  // namespace lowbit
