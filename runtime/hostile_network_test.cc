// Files of a few hundred bytes that would make a careless loader take gigabytes, run for hours, or calculate with
// numbers that overflow.

#include <chrono>
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/graph.h"
#include "quant/packing.h"
#include "quant/quantized_model.h"
#include "runtime/network.h"
#include "runtime/network_testing.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr int64_t kHuge = int64_t{1} << 31;  // the largest number that a graph takes

QuantParams Bytes(float zero_point) {
  QuantParams params;
  params.is_signed = false;
  params.scale = {0.1f};
  params.zero_point = {zero_point};
  return params;
}

// The network of these layers, weights being 1 bit and the activations of all layers 8.
absl::StatusOr<std::shared_ptr<const IntegerNetwork>> Load(std::vector<Layer> layers, float zero_point) {
  auto graph = Graph::Create(std::move(layers));
  if (!graph.ok()) return graph.status();
  QuantizedModel model{*std::move(graph), {}, {}, {}, {}};
  for (const Layer& layer : model.graph.layers()) {
    model.activations[layer.name] = Bytes(zero_point);
    if (!HasWeight(layer.op)) continue;
    PackedWeight& weight = model.weights[layer.name];
    weight.shape = ParameterShapes(layer.op).at("weight");
    weight.params = SignParams({1.0f});
    weight.codes.assign(static_cast<size_t>(weight.rows() * PackedRowBytes(weight.row_size(), 1)), '\0');
  }
  const auto start = std::chrono::steady_clock::now();
  auto network = IntegerNetwork::Create(model);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  return network;
}

std::string Error(std::vector<Layer> layers, float zero_point) {
  const auto network = Load(std::move(layers), zero_point);
  EXPECT_EQ(network.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(network.status().message());
}

Conv2d Conv(Pair kernel, Pair stride, Pair padding, int64_t out_channels = 1) {
  Conv2d conv;
  conv.in_channels = 1;
  conv.out_channels = out_channels;
  conv.kernel = kernel;
  conv.stride = stride;
  conv.padding = padding;
  return conv;
}

TEST(HostileNetwork, HugeImages) {
  EXPECT_THAT(Error({{"input", Input{1, 1 << 15, 1 << 14}, {}}}, 0), HasSubstr("absurdly large"));
  EXPECT_THAT(Error({{"input", Input{kHuge, 1, 1}, {}}}, 0), HasSubstr("absurdly large"));
}

TEST(HostileNetwork, HugePaddings) {
  // Two pixels come out, of an input that would have 2^62 with its border.
  const Layer input{"input", Input{1, 8, 8}, {}};
  EXPECT_THAT(Error({input, {"conv", Conv({1, 1}, {kHuge, kHuge}, {kHuge, kHuge}), {0}}}, 0),
              HasSubstr("layer \"input\": all tensors up to here, with the borders for padding, are absurdly large"));
  EXPECT_THAT(Error({input, {"conv", Conv({1, 1}, {1, kHuge}, {0, kHuge}), {0}}}, 3), HasSubstr("absurdly large"));
  // Each alone would do.
  EXPECT_THAT(Error({input,
                     {"high", Conv({1, 1}, {1 << 21, 7}, {1 << 20, 0}), {0}},
                     {"wide", Conv({1, 1}, {7, 1 << 21}, {0, 1 << 20}), {0}},
                     {"flat1", GlobalAvgPool{}, {1}},
                     {"flat2", GlobalAvgPool{}, {2}},
                     {"add", Add{}, {3, 4}}},
                    0),
              HasSubstr("absurdly large"));
}

TEST(HostileNetwork, HugeStridesAndDilations) {
  const auto network = Load({{"input", Input{1, 8, 8}, {}},
                             {"strided", Conv({1, 1}, {kHuge, kHuge}, {0, 0}), {0}},
                             {"flatten", Flatten{}, {1}}},
                            5);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ((*network)->outputs(), 1);
  Conv2d dilated = Conv({2, 1}, {kHuge, 1}, {kHuge / 2, 0});
  dilated.dilation = {kHuge, 1};
  EXPECT_THAT(Error({{"input", Input{1, 8, 8}, {}}, {"dilated", dilated, {0}}}, 5), HasSubstr("absurdly large"));
}

TEST(HostileNetwork, StridesOfAShortcutThatOverflow) {
  std::vector<Layer> layers = {
      {"input", Input{1, 8, 8}, {}},          {"conv", Conv({1, 1}, {kHuge, kHuge}, {0, 0}), {0}},
      {"s1", Subsample{{kHuge, kHuge}}, {0}}, {"s2", Subsample{{kHuge, kHuge}}, {2}},
      {"s3", Subsample{{kHuge, kHuge}}, {3}}, {"add", Add{}, {1, 4}}};
  QuantizedModel model{*Graph::Create(std::move(layers)), {}, {}, {}, {}};
  model.activations["input"] = Bytes(0);  // not the others, so that the shortcut is looked through
  PackedWeight& weight = model.weights["conv"];
  weight.shape = {1, 1, 1, 1};
  weight.params = SignParams({1.0f});
  weight.codes.assign(1, '\1');
  const auto network = IntegerNetwork::Create(model);
  ASSERT_TRUE(network.ok()) << network.status();
  std::vector<float> image(64, 9.0f);
  image[0] = 2;
  float output = 0;
  ASSERT_TRUE(IntegerSession(*network).Run(image.data(), 1, &output).ok());
  EXPECT_FLOAT_EQ(output, 4);  // twice the first pixel
}

TEST(HostileNetwork, KindsOfBorder) {
  // Every window has another part inside: 127^2 kinds of 64^2 taps, for each of 64 channels.
  const std::vector<Layer> layers = {{"input", Input{1, 64, 64}, {}},
                                     {"conv", Conv({64, 64}, {1, 1}, {63, 63}, 64), {0}}};
  EXPECT_EQ(Error(layers, 5), "layer \"conv\": its padding makes too many kinds of border");
  EXPECT_TRUE(Load(layers, 0).ok());
  // A long window over a long image, where all is found by calculation.
  const auto network =
      Load({{"input", Input{1, 100000, 1}, {}}, {"conv", Conv({5000, 1}, {1000, 1}, {4999, 0}), {0}}}, 5);
  EXPECT_TRUE(network.ok()) << network.status();
}

TEST(HostileNetwork, TooManyLayers) {
  std::vector<Layer> layers = {{"input", Input{1, 8, 8}, {}}};
  for (int i = 0; i < 20000; ++i) layers.push_back({"flatten" + std::to_string(i), Flatten{}, {i}});
  EXPECT_EQ(Error(layers, 0), "more than 16384 layers: 20001");
}

// A batch norm of a variance below 0 puts out NaN. That is no crash, and no code beyond the last one either.
TEST(HostileNetwork, NaNHasTheLowestCode) {
  QuantizedModel model = TinyModel("float");
  std::string& variances = model.parameters.at("bn1.running_var").bytes;
  for (size_t i = 3; i < variances.size(); i += 4) variances[i] = static_cast<char>(variances[i] | 0x80);
  const auto network = IntegerNetwork::Create(model);
  ASSERT_TRUE(network.ok()) << network.status();
  const std::vector<float> image = TinyImages(1, 1);
  std::vector<float> outputs(5);
  ASSERT_TRUE(IntegerSession(*network).Run(image.data(), 1, outputs.data()).ok());
  for (const float output : outputs) EXPECT_TRUE(std::isfinite(output));
}

TEST(TopK, NaNComesLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float outputs[] = {nan, 1, nan, 3, -1};
  EXPECT_THAT(TopK(outputs, 5, 5), testing::ElementsAre(3, 1, 4, 0, 2));
}

}  // namespace
}  // namespace lowbit
