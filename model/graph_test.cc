#include "model/graph.h"

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

Graph Make(std::vector<Layer> layers) {
  auto graph = Graph::Create(std::move(layers));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

std::string Refusal(std::vector<Layer> layers) {
  const auto graph = Graph::Create(std::move(layers));
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(graph.status().message());
}

// What is said of an operation that reads an image [4, 8, 6].
std::string RefusalOf(Op op) { return Refusal({{"input", Input{4, 8, 6}, {}}, {"op", std::move(op), {0}}}); }

// The shape that it gives there.
Shape ShapeAfter(Op op) { return Make({{"input", Input{4, 8, 6}, {}}, {"op", std::move(op), {0}}}).output_shape(1); }

// 4 to 6 channels, kernel 3x2, everything else at its default; then changed.
Conv2d Conv(const std::function<void(Conv2d&)>& change = [](Conv2d&) {}) {
  Conv2d conv{4, 6, {3, 2}};
  change(conv);
  return conv;
}

// input [2, 4, 4] -> conv, twice (input + input) -> add -> flatten -> fc.
Graph Residual() {
  Conv2d conv{2, 2, {3, 3}};
  conv.padding = {1, 1};
  return Make({{"input", Input{2, 4, 4}, {}},
               {"conv", conv, {0}},
               {"twice", Add{}, {0, 0}},
               {"add", Add{}, {1, 2}},
               {"flatten", Flatten{}, {3}},
               {"fc", Linear{32, 5}, {4}}});
}

TEST(GraphTest, HoldsLayersShapesAndReaders) {
  const Graph graph = Residual();
  EXPECT_EQ(graph.size(), 6);
  EXPECT_EQ(graph.layers().size(), 6u);
  EXPECT_EQ(graph.layer(3).name, "add");
  EXPECT_THAT(graph.layer(3).inputs, ElementsAre(1, 2));
  EXPECT_EQ(graph.input_shape(), (Shape{2, 4, 4}));
  EXPECT_EQ(graph.output_shape(3), (Shape{2, 4, 4}));
  EXPECT_EQ(graph.output_shape(4), (Shape{32}));
  EXPECT_EQ(graph.output_shape(5), (Shape{5}));
  EXPECT_THAT(graph.consumers(0), ElementsAre(1, 2, 2));  // The one that reads it twice is there twice.
  EXPECT_THAT(graph.consumers(1), ElementsAre(3));
  EXPECT_THAT(graph.consumers(4), ElementsAre(5));
  EXPECT_THAT(graph.consumers(5), IsEmpty());
}

TEST(GraphTest, FindsLayersByName) {
  const Graph graph = Residual();
  EXPECT_EQ(graph.Find("input"), 0);
  EXPECT_EQ(graph.Find("fc"), 5);
  EXPECT_EQ(graph.Find("FC"), -1);
  EXPECT_EQ(graph.Find(""), -1);
}

TEST(GraphTest, AnInputAloneIsAGraph) {
  const Graph graph = Make({{"input", Input{3, 1, 2}, {}}});
  EXPECT_EQ(graph.output_shape(0), (Shape{3, 1, 2}));
  EXPECT_THAT(graph.consumers(0), IsEmpty());
}

TEST(GraphTest, RefusesBadNames) {
  EXPECT_EQ(Refusal({}), "a graph needs at least one layer");
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"", Relu{}, {0}}}), "layer 1 (Relu) has no name");
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"a", Relu{}, {0}}, {"a", Flatten{}, {1}}}),
            "layer \"a\" (Flatten): another layer has the same name");
}

TEST(GraphTest, RefusesAnInputThatIsNotTheFirstLayerAlone) {
  EXPECT_EQ(Refusal({{"a", Relu{}, {}}}), "layer \"a\" (Relu): the first layer must be an Input");
  EXPECT_EQ(Refusal({{"a", Relu{}, {1}}, {"input", Input{1, 1, 1}, {}}}),
            "layer \"a\" (Relu): the first layer must be an Input");
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"more", Input{1, 1, 1}, {}}, {"add", Add{}, {0, 1}}}),
            "layer \"more\" (Input): only the first layer may be an Input");
}

TEST(GraphTest, RefusesReadersOfNoEarlierLayer) {
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"a", Relu{}, {2}}, {"b", Relu{}, {0}}}),
            "layer \"a\" (Relu): input index 2 is not that of an earlier layer; it is layer 1");
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"a", Relu{}, {1}}}),
            "layer \"a\" (Relu): input index 1 is not that of an earlier layer; it is layer 1");
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"a", Add{}, {0, -1}}}),
            "layer \"a\" (Add): input index -1 is not that of an earlier layer; it is layer 1");
}

TEST(GraphTest, RefusesLayersThatNobodyReads) {
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"a", Relu{}, {0}}, {"b", Relu{}, {0}}}),
            "layer \"a\" (Relu): nobody reads it and it is not the last layer");
}

TEST(GraphTest, RefusesAWrongNumberOfInputs) {
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {0}}}), "layer \"input\" (Input): needs 0 inputs, got 1");
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"a", Relu{}, {}}}), "layer \"a\" (Relu): needs 1 inputs, got 0");
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"a", Relu{}, {0, 0}}}),
            "layer \"a\" (Relu): needs 1 inputs, got 2");
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 1}, {}}, {"a", Add{}, {0}}}), "layer \"a\" (Add): needs 2 inputs, got 1");
}

TEST(GraphTest, RefusesSumsOfDifferentShapes) {
  EXPECT_EQ(Refusal({{"input", Input{4, 8, 6}, {}}, {"half", Subsample{{2, 2}}, {0}}, {"add", Add{}, {0, 1}}}),
            "layer \"add\" (Add): its inputs have different shapes [4, 8, 6] and [4, 4, 3]");
}

TEST(GraphTest, RefusesOperationsOnTheWrongShape) {
  EXPECT_EQ(RefusalOf(Conv2d{3, 6}), "layer \"op\" (Conv2d): is for 3 channels but its input has shape [4, 8, 6]");
  EXPECT_EQ(RefusalOf(BatchNorm{8}), "layer \"op\" (BatchNorm): is for 8 channels but its input has shape [4, 8, 6]");
  EXPECT_EQ(RefusalOf(Linear{192, 2}), "layer \"op\" (Linear): needs an input of shape [192], got [4, 8, 6]");
  for (const Op& op : {Op(Conv2d{192, 1}), Op(GlobalAvgPool{}), Op(AvgPool{}), Op(MaxPool{}), Op(Subsample{}),
                       Op(PadChannels{1, 1})}) {
    EXPECT_EQ(
        Refusal({{"input", Input{4, 8, 6}, {}}, {"flatten", Flatten{}, {0}}, {"op", op, {1}}}),
        "layer \"op\" (" + std::string(OpName(op)) + "): needs an input of shape [channels, height, width], got [192]");
  }
}

TEST(GraphTest, RefusesBadInputs) {
  EXPECT_EQ(Refusal({{"input", Input{0, 2, 2}, {}}}),
            "layer \"input\" (Input): every dimension must be at least 1, got [0, 2, 2]");
  EXPECT_EQ(Refusal({{"input", Input{3, -2, 2}, {}}}),
            "layer \"input\" (Input): every dimension must be at least 1, got [3, -2, 2]");
  EXPECT_EQ(Refusal({{"input", Input{3, 2, 0}, {}}}),
            "layer \"input\" (Input): every dimension must be at least 1, got [3, 2, 0]");
}

TEST(GraphTest, RefusesBadConvolutions) {
  const std::string at = "layer \"op\" (Conv2d): ";
  EXPECT_EQ(RefusalOf(Conv2d{0, 6}), at + "channels must be at least 1, got 0 in and 6 out");
  EXPECT_EQ(RefusalOf(Conv2d{4, -1}), at + "channels must be at least 1, got 4 in and -1 out");
  EXPECT_EQ(RefusalOf(Conv([](Conv2d& c) { c.kernel = {0, 3}; })), at + "kernel must be at least 1x1, got 0x3");
  EXPECT_EQ(RefusalOf(Conv([](Conv2d& c) { c.stride = {1, 0}; })), at + "stride must be at least 1x1, got 1x0");
  EXPECT_EQ(RefusalOf(Conv([](Conv2d& c) { c.padding = {-1, 0}; })), at + "padding must not be negative, got -1x0");
  EXPECT_EQ(RefusalOf(Conv([](Conv2d& c) { c.dilation = {1, 0}; })), at + "dilation must be at least 1x1, got 1x0");
  for (const int64_t groups : {0, -2, 3, 4}) {  // 3 divides the outputs alone, 4 the inputs alone.
    EXPECT_EQ(RefusalOf(Conv([&](Conv2d& c) { c.groups = groups; })),
              at + "groups must divide the 4 input and 6 output channels, got " + std::to_string(groups));
  }
}

TEST(GraphTest, RefusesWindowsLargerThanThePaddedImage) {
  const std::string at = "layer \"op\" (Conv2d): ";
  EXPECT_EQ(RefusalOf(Conv([](Conv2d& c) {
              c.kernel = {9, 1};
            })),
            at + "its window of 9x1 is larger than its input [4, 8, 6] with padding 0x0");
  EXPECT_EQ(ShapeAfter(Conv([](Conv2d& c) { c.kernel = {9, 1}, c.padding = {1, 0}; })), (Shape{6, 2, 6}));
  // Three taps two pixels apart reach over 5, four pixels apart over 9.
  EXPECT_EQ(RefusalOf(Conv([](Conv2d& c) {
              c.kernel = {3, 3}, c.dilation = {2, 4}, c.padding = {0, 1};
            })),
            at + "its window of 5x9 is larger than its input [4, 8, 6] with padding 0x1");
  EXPECT_EQ(RefusalOf(MaxPool{{1, 7}}),
            "layer \"op\" (MaxPool): its window of 1x7 is larger than its input [4, 8, 6] with padding 0x0");
}

TEST(GraphTest, RefusesBadNumbersOfOtherOperations) {
  EXPECT_EQ(Refusal({{"input", Input{1, 1, 2}, {}}, {"flatten", Flatten{}, {0}}, {"fc", Linear{2, 0}, {1}}}),
            "layer \"fc\" (Linear): features must be at least 1, got 2 in and 0 out");
  EXPECT_EQ(RefusalOf(BatchNorm{4, -1e-3}), "layer \"op\" (BatchNorm): eps must not be negative, got -0.001");
  EXPECT_EQ(RefusalOf(BatchNorm{4, std::numeric_limits<double>::quiet_NaN()}),
            "layer \"op\" (BatchNorm): eps must not be negative, got nan");
  EXPECT_EQ(RefusalOf(BatchNorm{4, 0, 1.5}), "layer \"op\" (BatchNorm): momentum must be in [0, 1], got 1.5");
  EXPECT_EQ(RefusalOf(AvgPool{{0, 2}}), "layer \"op\" (AvgPool): kernel must be at least 1x1, got 0x2");
  EXPECT_EQ(RefusalOf(MaxPool{{2, 2}, {0, 2}}), "layer \"op\" (MaxPool): stride must be at least 1x1, got 0x2");
  EXPECT_EQ(RefusalOf(AvgPool{{2, 3}, {1, 1}, {2, 1}}),
            "layer \"op\" (AvgPool): padding must be between 0 and half the kernel of 2x3, got 2x1");
  EXPECT_EQ(RefusalOf(MaxPool{{2, 3}, {1, 1}, {0, -1}}),
            "layer \"op\" (MaxPool): padding must be between 0 and half the kernel of 2x3, got 0x-1");
  EXPECT_EQ(RefusalOf(Subsample{{2, 0}}), "layer \"op\" (Subsample): stride must be at least 1x1, got 2x0");
  EXPECT_EQ(RefusalOf(PadChannels{-1, 2}),
            "layer \"op\" (PadChannels): channel counts must not be negative, got -1 before and 2 after");
}

// A graph may come from a file: no number in it may overflow the arithmetic on shapes.
TEST(GraphTest, RefusesNumbersTooLargeToCalculateWith) {
  const std::string limit = "numbers must be at most 2147483648, got 9223372036854775807";
  EXPECT_EQ(Refusal({{"input", Input{1, kHuge, 1}, {}}}), "layer \"input\" (Input): " + limit);
  for (const auto& change : std::vector<std::function<void(Conv2d&)>>{
           [](Conv2d& c) { c.in_channels = kHuge; }, [](Conv2d& c) { c.out_channels = kHuge; },
           [](Conv2d& c) { c.kernel[1] = kHuge; }, [](Conv2d& c) { c.stride[0] = kHuge; },
           [](Conv2d& c) { c.padding[0] = kHuge; }, [](Conv2d& c) { c.dilation[1] = kHuge; },
           [](Conv2d& c) { c.groups = kHuge; }}) {
    EXPECT_EQ(RefusalOf(Conv(change)), "layer \"op\" (Conv2d): " + limit);
  }
  EXPECT_EQ(RefusalOf(Linear{1, kHuge}), "layer \"op\" (Linear): " + limit);
  EXPECT_EQ(RefusalOf(AvgPool{{kHuge, 1}}), "layer \"op\" (AvgPool): " + limit);
  EXPECT_EQ(RefusalOf(MaxPool{{1, 1}, {1, 1}, {0, kHuge}}), "layer \"op\" (MaxPool): " + limit);
  EXPECT_EQ(RefusalOf(Subsample{{kHuge, 1}}), "layer \"op\" (Subsample): " + limit);
  EXPECT_EQ(RefusalOf(PadChannels{0, kHuge}), "layer \"op\" (PadChannels): " + limit);
}

TEST(GraphTest, RefusesTensorsTooLargeToCount) {
  EXPECT_EQ(Make({{"input", Input{1 << 16, 1 << 15, 1}, {}}}).size(), 1);
  EXPECT_EQ(Refusal({{"input", Input{1 << 16, 1 << 15, 2}, {}}}),
            "layer \"input\" (Input): its output of shape [65536, 32768, 2] has more than 2147483648 elements");
  EXPECT_EQ(RefusalOf(PadChannels{0, 1 << 30}),
            "layer \"op\" (PadChannels): its output of shape [1073741828, 8, 6] has more than 2147483648 elements");
  EXPECT_EQ(Refusal({{"input", Input{1 << 16, 1, 1}, {}}, {"op", Conv2d{1 << 16, 1 << 16}, {0}}}),
            "layer \"op\" (Conv2d): its weight of shape [65536, 65536, 1, 1] has more than 2147483648 elements");
}

TEST(ShapeTest, Convolutions) {
  EXPECT_EQ(ShapeAfter(Conv()), (Shape{6, 6, 5}));
  EXPECT_EQ(ShapeAfter(Conv([](Conv2d& c) { c.padding = {1, 2}; })), (Shape{6, 8, 9}));
  EXPECT_EQ(ShapeAfter(Conv([](Conv2d& c) {
              c.stride = {2, 3};
            })),
            (Shape{6, 3, 2}));  // floor(5 / 2) + 1, floor(4 / 3) + 1
  EXPECT_EQ(ShapeAfter(Conv([](Conv2d& c) { c.dilation = {3, 4}; })), (Shape{6, 2, 2}));
  EXPECT_EQ(ShapeAfter(Conv([](Conv2d& c) { c.groups = 2; })), (Shape{6, 6, 5}));
  EXPECT_EQ(ShapeAfter(Conv([](Conv2d& c) {
              c.stride = {2, 2}, c.padding = {1, 1}, c.dilation = {2, 1};
            })),
            (Shape{6, 3, 4}));  // floor((8 + 2 - 5) / 2) + 1, floor((6 + 2 - 2) / 2) + 1
}

TEST(ShapeTest, OtherOperations) {
  EXPECT_EQ(ShapeAfter(BatchNorm{4}), (Shape{4, 8, 6}));
  EXPECT_EQ(ShapeAfter(Relu{}), (Shape{4, 8, 6}));
  EXPECT_EQ(ShapeAfter(GlobalAvgPool{}), (Shape{4, 1, 1}));
  EXPECT_EQ(ShapeAfter(Flatten{}), (Shape{192}));
  EXPECT_EQ(ShapeAfter(AvgPool{{3, 2}, {2, 4}}), (Shape{4, 3, 2}));  // Rounded down: floor(5 / 2) + 1, floor(4 / 4) + 1
  EXPECT_EQ(ShapeAfter(MaxPool{{3, 2}, {2, 2}, {1, 0}}), (Shape{4, 4, 3}));
  EXPECT_EQ(ShapeAfter(Subsample{{3, 4}}), (Shape{4, 3, 2}));  // Rows 0, 3, 6; columns 0, 4.
  EXPECT_EQ(ShapeAfter(PadChannels{1, 2}), (Shape{7, 8, 6}));
}

TEST(OpTest, Names) {
  const std::vector<std::pair<Op, std::string>> names = {{Input{}, "Input"},
                                                         {Conv2d{}, "Conv2d"},
                                                         {Linear{}, "Linear"},
                                                         {BatchNorm{}, "BatchNorm"},
                                                         {Relu{}, "Relu"},
                                                         {Add{}, "Add"},
                                                         {GlobalAvgPool{}, "GlobalAvgPool"},
                                                         {Flatten{}, "Flatten"},
                                                         {AvgPool{}, "AvgPool"},
                                                         {MaxPool{}, "MaxPool"},
                                                         {Subsample{}, "Subsample"},
                                                         {PadChannels{}, "PadChannels"}};
  ASSERT_EQ(names.size(), std::variant_size_v<Op>);
  for (const auto& [op, name] : names) {
    EXPECT_EQ(OpName(op), name);
    EXPECT_EQ(HasWeight(op), name == "Conv2d" || name == "Linear") << name;
    if (!HasWeight(op)) {
      EXPECT_EQ(Macs(op, {2, 3, 4}), 0) << name;
    }
  }
}

TEST(OpTest, Parameters) {
  Conv2d conv{4, 6, {3, 2}};
  EXPECT_THAT(ParameterShapes(conv), ElementsAre(Pair("weight", Shape{6, 4, 3, 2})));
  EXPECT_EQ(ParameterCount(Op(conv)), 144);
  conv.groups = 2;
  conv.bias = true;
  EXPECT_THAT(ParameterShapes(conv), ElementsAre(Pair("bias", Shape{6}), Pair("weight", Shape{6, 2, 3, 2})));
  EXPECT_EQ(ParameterCount(Op(conv)), 72 + 6);
  EXPECT_THAT(ParameterShapes(Linear{5, 3}), ElementsAre(Pair("bias", Shape{3}), Pair("weight", Shape{3, 5})));
  EXPECT_EQ(ParameterCount(Op(Linear{5, 3})), 18);
  EXPECT_THAT(ParameterShapes(Linear{5, 3, false}), ElementsAre(Pair("weight", Shape{3, 5})));
  EXPECT_THAT(ParameterShapes(BatchNorm{7}), ElementsAre(Pair("bias", Shape{7}), Pair("running_mean", Shape{7}),
                                                         Pair("running_var", Shape{7}), Pair("weight", Shape{7})));
  EXPECT_EQ(ParameterCount(Op(BatchNorm{7})), 14);  // Running statistics are not trained.
  EXPECT_THAT(ParameterShapes(Relu{}), IsEmpty());
  EXPECT_EQ(ParameterCount(Op(PadChannels{3, 3})), 0);
}

TEST(OpTest, MultiplyAccumulates) {
  Conv2d conv{4, 6, {3, 2}};
  EXPECT_EQ(Macs(conv, {6, 6, 5}), 6 * 6 * 5 * (4 * 3 * 2));
  conv.groups = 2;
  EXPECT_EQ(Macs(conv, {6, 6, 5}), 6 * 6 * 5 * (2 * 3 * 2));
  EXPECT_EQ(Macs(Linear{5, 3}, {3}), 15);  // A bias multiplies nothing.
}

TEST(OpTest, SumsOverTheGraph) {
  const Graph graph = Residual();
  EXPECT_EQ(ParameterCount(graph), 2 * 2 * 9 + (32 * 5 + 5));
  EXPECT_EQ(Macs(graph), 2 * 4 * 4 * (2 * 9) + 32 * 5);
}

TEST(ShapeToStringTest, ListsDimensions) {
  EXPECT_EQ(ShapeToString({3, 32, 32}), "[3, 32, 32]");
  EXPECT_EQ(ShapeToString({10}), "[10]");
  EXPECT_EQ(ShapeToString({}), "[]");
}

}  // namespace
}  // namespace lowbit
