#include "model/resnet.h"

#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

Graph Cifar(int depth, Shortcut shortcut = Shortcut::kOptionA, int64_t num_classes = 10) {
  const auto graph = BuildResnetCifar({depth, shortcut, num_classes});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *graph;
}

Graph BasicBlock(const BasicBlockResnetOptions& options = {}) {
  const auto graph = BuildBasicBlockResnet(options);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *graph;
}

const Shape& ShapeOf(const Graph& graph, const std::string& name) {
  EXPECT_GE(graph.Find(name), 0) << name;
  return graph.output_shape(graph.Find(name));
}

const Conv2d& ConvOf(const Graph& graph, const std::string& name) {
  EXPECT_GE(graph.Find(name), 0) << name;
  return std::get<Conv2d>(graph.layer(graph.Find(name)).op);
}

std::vector<std::string> InputsOf(const Graph& graph, const std::string& name) {
  std::vector<std::string> names;
  for (const int input : graph.layer(graph.Find(name)).inputs) names.push_back(graph.layer(input).name);
  return names;
}

std::string Refusal(const absl::StatusOr<Graph>& graph) {
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(graph.status().message());
}

TEST(ResnetCifarTest, Depth20HasThePublishedParameters) { EXPECT_EQ(ParameterCount(Cifar(20)), 269722); }

// With n blocks per stage; a 3x3 convolution of c to d channels has 9 c d weights, its batch norm 2 d:
//   stem               432 + 32                                     =     464
//   stage 1            n (2 (2304 + 32))                            =   4,672 n
//   stage 2            (4608 + 64) + (9216 + 64)    + (n - 1) 18,560 =  13,952 + 18,560 (n - 1)
//   stage 3            (18432 + 128) + (36864 + 128) + (n - 1) 73,984 =  55,552 + 73,984 (n - 1)
//   linear             640 + 10                                     =     650
// Together 97,216 n - 21,926: He et al. 2015, table 6, give 0.27M, 0.46M, 0.66M, 0.85M, 1.7M.
TEST(ResnetCifarTest, EveryDepthHasThePublishedParameters) {
  EXPECT_EQ(ParameterCount(Cifar(20)), 97216 * 3 - 21926);
  EXPECT_EQ(ParameterCount(Cifar(32)), 464154);
  EXPECT_EQ(ParameterCount(Cifar(44)), 658586);
  EXPECT_EQ(ParameterCount(Cifar(56)), 853018);
  EXPECT_EQ(ParameterCount(Cifar(110)), 1727962);
}

TEST(ResnetCifarTest, Depth20HasThePublishedMacs) {
  const int64_t stem = 32 * 32 * 16 * (9 * 3);
  const int64_t stage1 = 6 * (32 * 32 * 16 * (9 * 16));
  const int64_t stage2 = 16 * 16 * 32 * (9 * 16) + 5 * (16 * 16 * 32 * (9 * 32));
  const int64_t stage3 = 8 * 8 * 64 * (9 * 32) + 5 * (8 * 8 * 64 * (9 * 64));
  const int64_t linear = 64 * 10;
  ASSERT_EQ(stem + stage1 + stage2 + stage3 + linear, 40551040);
  EXPECT_EQ(Macs(Cifar(20)), 40551040);
  // The two projections of option B: 16 * 16 * 32 outputs of 16, 8 * 8 * 64 of 32.
  EXPECT_EQ(Macs(Cifar(20, Shortcut::kOptionB)), 40551040 + 131072 + 131072);
}

TEST(ResnetCifarTest, LayersAreNamedAsInPyTorchCheckpoints) {
  const Graph graph = Cifar(20);
  // Input, conv1, bn1, relu; 9 blocks of 7; two shortcuts of 2; avgpool, flatten, linear.
  ASSERT_EQ(graph.size(), 4 + 9 * 7 + 2 * 2 + 3);
  std::vector<std::string> names;
  for (const Layer& layer : graph.layers()) names.push_back(layer.name);
  EXPECT_THAT(std::vector<std::string>(names.begin(), names.begin() + 11),
              ElementsAre("input", "conv1", "bn1", "relu", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu1",
                          "layer1.0.conv2", "layer1.0.bn2", "layer1.0.add", "layer1.0.relu2"));
  EXPECT_THAT(std::vector<std::string>(names.end() - 6, names.end()),
              ElementsAre("layer3.2.bn2", "layer3.2.add", "layer3.2.relu2", "avgpool", "flatten", "linear"));
  EXPECT_EQ(graph.Find("layer1.3.conv1"), -1);
  EXPECT_EQ(Cifar(32).Find("layer1.5.conv1"), -1);
  EXPECT_GE(Cifar(32).Find("layer3.4.conv2"), 0);
}

TEST(ResnetCifarTest, ShapesHalveAtStages2And3) {
  const Graph graph = Cifar(20, Shortcut::kOptionA, 100);
  EXPECT_EQ(graph.input_shape(), (Shape{3, 32, 32}));
  EXPECT_EQ(ShapeOf(graph, "relu"), (Shape{16, 32, 32}));
  EXPECT_EQ(ShapeOf(graph, "layer1.2.relu2"), (Shape{16, 32, 32}));
  EXPECT_EQ(ShapeOf(graph, "layer2.0.relu1"), (Shape{32, 16, 16}));
  EXPECT_EQ(ShapeOf(graph, "layer3.2.relu2"), (Shape{64, 8, 8}));
  EXPECT_EQ(ShapeOf(graph, "avgpool"), (Shape{64, 1, 1}));
  EXPECT_EQ(ShapeOf(graph, "linear"), (Shape{100}));
  EXPECT_EQ(ConvOf(graph, "layer2.0.conv1").stride, (Pair{2, 2}));
  EXPECT_EQ(ConvOf(graph, "layer2.0.conv2").stride, (Pair{1, 1}));
  EXPECT_EQ(ConvOf(graph, "layer2.1.conv1").stride, (Pair{1, 1}));
  EXPECT_FALSE(ConvOf(graph, "layer2.0.conv1").bias);
}

TEST(ResnetCifarTest, OptionATakesEveryOtherPixelAndPadsChannelsOnBothSides) {
  const Graph graph = Cifar(20);
  EXPECT_THAT(InputsOf(graph, "layer1.0.add"), ElementsAre("layer1.0.bn2", "relu"));
  EXPECT_THAT(InputsOf(graph, "layer2.0.add"), ElementsAre("layer2.0.bn2", "layer2.0.shortcut.1"));
  EXPECT_THAT(InputsOf(graph, "layer2.0.shortcut.0"), ElementsAre("layer1.2.relu2"));
  EXPECT_THAT(InputsOf(graph, "layer2.1.add"), ElementsAre("layer2.1.bn2", "layer2.0.relu2"));
  EXPECT_EQ(std::get<Subsample>(graph.layer(graph.Find("layer2.0.shortcut.0")).op).stride, (Pair{2, 2}));
  const auto& pad = std::get<PadChannels>(graph.layer(graph.Find("layer3.0.shortcut.1")).op);
  EXPECT_EQ(pad.before, 16);
  EXPECT_EQ(pad.after, 16);
}

TEST(ResnetCifarTest, OptionBProjects) {
  const Graph graph = Cifar(20, Shortcut::kOptionB);
  const Conv2d projection = ConvOf(graph, "layer2.0.shortcut.0");
  EXPECT_EQ(projection.in_channels, 16);
  EXPECT_EQ(projection.out_channels, 32);
  EXPECT_EQ(projection.kernel, (Pair{1, 1}));
  EXPECT_EQ(projection.stride, (Pair{2, 2}));
  EXPECT_EQ(projection.padding, (Pair{0, 0}));
  EXPECT_FALSE(projection.bias);
  EXPECT_EQ(std::get<BatchNorm>(graph.layer(graph.Find("layer3.0.shortcut.1")).op).channels, 64);
  EXPECT_THAT(InputsOf(graph, "layer3.0.add"), ElementsAre("layer3.0.bn2", "layer3.0.shortcut.1"));
  EXPECT_EQ(graph.Find("layer1.0.shortcut.0"), -1);
  EXPECT_EQ(ParameterCount(graph), 269722 + (16 * 32 + 64) + (32 * 64 + 128));
}

TEST(ResnetCifarTest, RefusesOtherDepthsAndNoClasses) {
  for (const int depth : {0, 18, 26, -20}) {
    EXPECT_EQ(Refusal(BuildResnetCifar({depth})),
              "depth must be one of 20, 32, 44, 56, 110, got " + std::to_string(depth));
  }
  EXPECT_EQ(Refusal(BuildResnetCifar({20, Shortcut::kOptionA, 0})), "num_classes must be at least 1, got 0");
}

//   stem               1,728 + 128                                                        =      1,856
//   stage 1 (64)       2 blocks of 2 (36,864 + 128)                                       =    147,968
//   stage 2 (128)      73,984 + 147,712 + 8,448 (projection) + 1 block of 2 (147,456 + 256)   =    525,568
//   stage 3 (256)      295,424 + 590,336 + 33,280 + 2 blocks of 2 (589,824 + 512)         =  3,280,384
//   stage 4 (512)      1,180,672 + 2,360,320 + 132,096 + 1 block of 2 (2,359,296 + 1,024) =  8,393,728
//   linear             5,120 + 10                                                         =      5,130
TEST(BasicBlockResnetTest, TheDefaultIsTheWideNetwork) {
  const Graph graph = BasicBlock();
  EXPECT_EQ(ParameterCount(graph), 1856 + 147968 + 525568 + 3280384 + 8393728 + 5130);
  EXPECT_EQ(ParameterCount(graph), 12354634);
  EXPECT_EQ(ShapeOf(graph, "conv1"), (Shape{64, 30, 30}));  // No padding.
  EXPECT_EQ(ShapeOf(graph, "layer1.1.relu2"), (Shape{64, 30, 30}));
  EXPECT_EQ(ShapeOf(graph, "layer2.1.relu2"), (Shape{128, 15, 15}));
  EXPECT_EQ(ShapeOf(graph, "layer3.2.relu2"), (Shape{256, 8, 8}));
  EXPECT_EQ(ShapeOf(graph, "layer4.1.relu2"), (Shape{512, 4, 4}));
  EXPECT_EQ(ShapeOf(graph, "avgpool"), (Shape{512, 1, 1}));
  EXPECT_EQ(ShapeOf(graph, "linear"), (Shape{10}));
  EXPECT_EQ(graph.Find("layer1.0.shortcut.0"), -1);
  EXPECT_EQ(ConvOf(graph, "layer4.0.shortcut.0").stride, (Pair{2, 2}));
  EXPECT_EQ(graph.Find("layer3.3.conv1"), -1);
}

TEST(BasicBlockResnetTest, OptionsAreHonoured) {
  BasicBlockResnetOptions options;
  options.blocks = {1, 1};
  options.widths = {5, 7};
  options.stem_padding = 1;
  options.final_pool = 6;
  options.num_classes = 3;
  const Graph graph = BasicBlock(options);
  EXPECT_EQ(ShapeOf(graph, "conv1"), (Shape{5, 32, 32}));
  EXPECT_EQ(ShapeOf(graph, "layer2.0.relu2"), (Shape{7, 16, 16}));
  EXPECT_EQ(ShapeOf(graph, "avgpool"), (Shape{7, 2, 2}));  // floor(16 / 6)
  EXPECT_EQ(ShapeOf(graph, "flatten"), (Shape{28}));
  EXPECT_EQ(ShapeOf(graph, "linear"), (Shape{3}));
}

TEST(BasicBlockResnetTest, RefusesWhatMakesNoNetwork) {
  const auto refusal = [](const std::function<void(BasicBlockResnetOptions&)>& change) {
    BasicBlockResnetOptions options;
    change(options);
    return Refusal(BuildBasicBlockResnet(options));
  };
  using O = BasicBlockResnetOptions;
  EXPECT_EQ(refusal([](O& o) { o.blocks = {}, o.widths = {}; }),
            "blocks and widths must have one number per stage, got 0 and 0");
  EXPECT_EQ(refusal([](O& o) { o.blocks = {1, 1}; }), "blocks and widths must have one number per stage, got 2 and 4");
  EXPECT_EQ(refusal([](O& o) { o.blocks = {2, 0, 1, 1}; }), "blocks must all be at least 1, got 2, 0, 1, 1");
  EXPECT_EQ(refusal([](O& o) { o.widths = {2, 3, -1, 1}; }), "widths must all be at least 1, got 2, 3, -1, 1");
  EXPECT_EQ(refusal([](O& o) { o.num_classes = -3; }), "num_classes must be at least 1, got -3");
  EXPECT_EQ(refusal([](O& o) { o.stem_padding = -1; }), "stem_padding must not be negative, got -1");
  EXPECT_EQ(refusal([](O& o) { o.final_pool = 0; }), "final_pool must be at least 1, got 0");
  EXPECT_EQ(refusal([](O& o) { o.final_pool = 5; }), "final_pool of 5 is larger than the last stage's output of 4x4");
}

}  // namespace
}  // namespace lowbit
