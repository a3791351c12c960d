#include "data/normalize.h"

#include <cmath>
#include <limits>

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::FloatNear;
using testing::Pointwise;

TEST(NormalizerTest, HandComputed) {
  // Two channels of two pixels. 255 / 255 = 1 and 51 / 255 = 0.2.
  const auto normalizer = Normalizer::Create({{0.5f, 0.25f}, {0.25f, 0.5f}}, {2, 1, 2});
  ASSERT_TRUE(normalizer.ok()) << normalizer.status();
  const uint8_t chw[] = {0, 255, 51, 255};
  float out[4];
  normalizer->Apply(chw, out);
  EXPECT_EQ(out[0], -2.0f);
  EXPECT_EQ(out[1], 2.0f);
  EXPECT_FLOAT_EQ(out[2], -0.1f);
  EXPECT_EQ(out[3], 1.5f);
}

TEST(NormalizerTest, EveryValueFollowsTheFormula) {
  const auto normalizer = Normalizer::Create(Normalization(), {3, 16, 16});
  ASSERT_TRUE(normalizer.ok()) << normalizer.status();
  std::vector<uint8_t> chw(3 * 256);
  for (size_t i = 0; i < chw.size(); ++i) chw[i] = static_cast<uint8_t>(i);
  std::vector<float> out(chw.size());
  normalizer->Apply(chw.data(), out.data());
  const double mean[] = {0.4914, 0.4822, 0.4465};
  const double std[] = {0.247, 0.243, 0.261};
  std::vector<float> wanted;
  for (int c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) wanted.push_back(static_cast<float>((v / 255.0 - mean[c]) / std[c]));
  }
  EXPECT_THAT(out, Pointwise(FloatNear(1e-6f), wanted));
}

struct BadNormalization {
  Normalization normalization;
  std::string field, message;
};

class NormalizerErrorTest : public testing::TestWithParam<BadNormalization> {};

TEST_P(NormalizerErrorTest, NamesTheField) {
  const absl::Status status = Normalizer::Create(GetParam().normalization, {2, 4, 4}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(status), GetParam().field);
  EXPECT_EQ(status.message(), GetParam().message);
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

INSTANTIATE_TEST_SUITE_P(
    All, NormalizerErrorTest,
    testing::Values(BadNormalization{{{0, 0, 0}, {1, 1}}, "mean", "the images have 2 channels, got 3 values"},
                    BadNormalization{{{0, 0}, {1}}, "std", "the images have 2 channels, got 1 values"},
                    BadNormalization{{{0, std::nanf("")}, {1, 1}}, "mean[1]", "must be finite, got nan"},
                    BadNormalization{{{-kInfinity, 0}, {1, 1}}, "mean[0]", "must be finite, got -inf"},
                    BadNormalization{{{0, 0}, {1, 0}}, "std[1]", "must be positive and finite, got 0"},
                    BadNormalization{{{0, 0}, {-0.5f, 1}}, "std[0]", "must be positive and finite, got -0.5"},
                    BadNormalization{{{0, 0}, {1, std::nanf("")}}, "std[1]", "must be positive and finite, got nan"},
                    BadNormalization{{{0, 0}, {kInfinity, 1}}, "std[0]", "must be positive and finite, got inf"}));

}  // namespace
}  // namespace lowbit
