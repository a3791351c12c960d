#include "corrections/expected_moments.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Optional;

Graph Make(std::vector<Layer> layers) {
  auto graph = Graph::Create(std::move(layers));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

// E[relu(x)] of a standard normal is 1 / sqrt(2 pi), E[relu(x)^2] is 1 / 2.
TEST(ClippedNormalTest, KnownValues) {
  const ChannelMoments clipped = ClippedNormal({{0, 3, -3, 5, 1000, -1000}, {1, 0, 0, 1e-9, 1, 1}});
  EXPECT_NEAR(clipped.mean[0], 0.3989422804014327, 1e-15);
  EXPECT_NEAR(clipped.std[0], std::sqrt(0.5 - 0.15915494309189535), 1e-15);
  EXPECT_EQ(clipped.mean[1], 3);
  EXPECT_EQ(clipped.std[1], 0);
  EXPECT_EQ(clipped.mean[2], 0);
  EXPECT_EQ(clipped.std[2], 0);
  EXPECT_NEAR(clipped.mean[3], 5, 1e-12);
  EXPECT_NEAR(clipped.mean[4], 1000, 1e-9);
  EXPECT_NEAR(clipped.std[4], 1, 1e-5);
  EXPECT_EQ(clipped.mean[5], 0);
  EXPECT_EQ(clipped.std[5], 0);
}

TEST(ClippedNormalTest, AgreesWithSamples) {
  const double mean = -0.7, std = 1.3;
  Rng rng({5});
  double sum = 0, squares = 0;
  constexpr int kSamples = 400000;
  for (int i = 0; i < kSamples; ++i) {
    const double x = std::max(0.0, mean + std * rng.Normal());
    sum += x;
    squares += x * x;
  }
  const ChannelMoments clipped = ClippedNormal({{mean}, {std}});
  EXPECT_NEAR(clipped.mean[0], sum / kSamples, 0.004);
  EXPECT_NEAR(clipped.std[0], std::sqrt(squares / kSamples - sum / kSamples * sum / kSamples), 0.004);
}

// What conv1 puts out is known: two channels, one of them constant.
TEST(ExpectedOutputsTest, GoesThroughTheGraph) {
  Conv2d plain{2, 2};
  plain.bias = true;
  Conv2d padded = plain;
  padded.kernel = {3, 3};
  padded.padding = {1, 1};
  const Model model{Make({{"input", Input{2, 2, 2}, {}},    // 0
                          {"conv1", plain, {0}},            // 1
                          {"relu", Relu{}, {1}},            // 2
                          {"add", Add{}, {1, 2}},           // 3
                          {"pad", PadChannels{1, 0}, {3}},  // 4
                          {"sub", Subsample{{2, 2}}, {4}},  // 5
                          {"pool", GlobalAvgPool{}, {5}},   // 6
                          {"flatten", Flatten{}, {6}},      // 7
                          {"fc", Linear{3, 1}, {7}},        // 8
                          {"relu2", Relu{}, {8}},           // 9
                          {"fc2", Linear{1, 1}, {9}}}),     // 10
                    {{"fc.weight", at::tensor({9.0f, 2.0f, -1.0f}).view({1, 3})}, {"fc.bias", at::tensor({0.5f})}}};
  const auto outputs = ExpectedOutputs(model, {{"conv1", {{0, -2}, {1, 0}}}});
  ASSERT_EQ(outputs.size(), 11u);
  EXPECT_FALSE(outputs[0].mean.has_value());
  EXPECT_EQ(outputs[0].unknown, "the mean of the images is not known");
  const double relu = 0.3989422804014327, variance = 0.5 - relu * relu;
  EXPECT_THAT(outputs[2].mean, Optional(ElementsAre(DoubleNear(relu, 1e-15), 0)));
  EXPECT_THAT(outputs[3].mean, Optional(ElementsAre(DoubleNear(relu, 1e-15), -2)));
  EXPECT_THAT(outputs[3].std, Optional(ElementsAre(DoubleNear(std::sqrt(1 + variance), 1e-15), 0)));
  EXPECT_THAT(outputs[5].mean, Optional(ElementsAre(0, DoubleNear(relu, 1e-15), -2)));
  EXPECT_THAT(outputs[5].std, Optional(ElementsAre(0, DoubleNear(std::sqrt(1 + variance), 1e-15), 0)));
  EXPECT_THAT(outputs[7].mean, Optional(ElementsAre(0, DoubleNear(relu, 1e-15), -2)));
  EXPECT_FALSE(outputs[7].std.has_value());
  EXPECT_THAT(outputs[8].mean, Optional(ElementsAre(DoubleNear(0.5 + 2 * relu + 2, 1e-14))));
  // A normal x needs a standard deviation; the layers behind pass the reason on.
  EXPECT_FALSE(outputs[9].mean.has_value());
  EXPECT_EQ(outputs[9].unknown, "the mean of \"relu2\" (Relu) cannot be told without images");
  EXPECT_EQ(outputs[10].unknown, outputs[9].unknown);
}

TEST(ExpectedOutputsTest, BatchNormsFlatteningAndGroups) {
  Conv2d grouped{4, 2};
  grouped.groups = 2;
  const Model model{Make({{"input", Input{4, 1, 2}, {}},
                          {"bn", BatchNorm{4, 0.25}, {0}},
                          {"conv", grouped, {1}},
                          {"flatten", Flatten{}, {2}}}),
                    {{"bn.weight", at::tensor({2.0f, -3.0f, 0.0f, 1.0f})},
                     {"bn.bias", at::tensor({1.0f, 2.0f, 3.0f, 4.0f})},
                     {"bn.running_mean", at::tensor({5.0f, 5.0f, 5.0f, 5.0f})},
                     {"bn.running_var", at::tensor({0.75f, 0.75f, 1.0f, 0.0f})},
                     {"conv.weight", at::tensor({1.0f, 10.0f, 100.0f, 1000.0f}).view({2, 2, 1, 1})}}};
  const auto outputs = ExpectedOutputs(model, {});
  EXPECT_THAT(outputs[1].mean, Optional(ElementsAre(1, 2, 3, 4)));
  EXPECT_THAT(outputs[1].std,
              Optional(ElementsAre(DoubleNear(std::sqrt(3), 1e-15), DoubleNear(std::sqrt(6.75), 1e-15), 0, 0)));
  EXPECT_THAT(outputs[2].mean, Optional(ElementsAre(21, 4300)));
  EXPECT_THAT(outputs[3].mean, Optional(ElementsAre(21, 21, 4300, 4300)));
}

TEST(ExpectedOutputsTest, WhatCannotBeTold) {
  Conv2d padded{1, 1, {3, 3}};
  padded.padding = {1, 1};
  const Model model{Make({{"input", Input{1, 4, 4}, {}},
                          {"conv", Conv2d{1, 1}, {0}},
                          {"max", MaxPool{{2, 2}, {1, 1}}, {1}},
                          {"average", AvgPool{{2, 2}, {1, 1}, {1, 1}}, {2}},
                          {"conv2", padded, {1}},
                          {"add", Add{}, {4, 1}},
                          {"flatten", Flatten{}, {5}},
                          {"flatten2", Flatten{}, {3}},
                          {"add2", Add{}, {6, 7}}}),
                    {}};
  const auto outputs = ExpectedOutputs(model, {{"conv", {{1}, {1}}}});
  EXPECT_EQ(outputs[2].unknown, "the mean of \"max\" (MaxPool) cannot be told without images");
  EXPECT_EQ(outputs[3].unknown, "the mean of \"average\" (AvgPool) cannot be told without images");
  EXPECT_EQ(outputs[4].unknown, "the mean of \"conv2\" (Conv2d) cannot be told without images");
  EXPECT_EQ(outputs[5].unknown, outputs[4].unknown);
  EXPECT_EQ(outputs[8].unknown, outputs[4].unknown);
}

}  // namespace
}  // namespace lowbit
