#include "model/passes/split_shortcuts.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string InputOf(const Graph& graph, const std::string& layer, size_t which = 0) {
  const int i = graph.Find(layer);
  return i < 0 ? "no such layer" : graph.layer(graph.layer(i).inputs[which]).name;
}

Conv2d Conv(int64_t channels) {
  Conv2d conv;
  conv.in_channels = conv.out_channels = channels;
  return conv;
}

// A shortcut without a Relu at its beginning, one that leads through pooling, and a sum that two convolutions read.
TEST(SplitShortcutsTest, HandMade) {
  const Graph graph = *Graph::Create({{"in", Input{2, 4, 4}, {}},
                                      {"a", Conv(2), {0}},
                                      {"b", Conv(2), {1}},
                                      {"add", Add{}, {2, 1}},
                                      {"relu", Relu{}, {3}},
                                      {"c", Conv(2), {4}},
                                      {"d", Conv(2), {4}},
                                      {"pool", MaxPool{}, {4}},
                                      {"sum", Add{}, {5, 7}},
                                      {"both", Add{}, {8, 6}},
                                      {"e", Conv(2), {9}},
                                      {"f", Conv(2), {9}},
                                      {"end", Add{}, {10, 11}}});
  const Model model{graph, InitParameters(graph, 1)};
  const auto result = SplitShortcuts(model);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->split, ElementsAre("a", "relu")) << "what only layers with a weight read stays whole";
  const Graph& made = result->model.graph;
  EXPECT_EQ(made.size(), graph.size() + 2);
  EXPECT_EQ(InputOf(made, "a.branch"), "a");
  EXPECT_EQ(InputOf(made, "b"), "a.branch");
  EXPECT_EQ(InputOf(made, "add", 0), "b");
  EXPECT_EQ(InputOf(made, "add", 1), "a");
  EXPECT_EQ(OpName(made.layer(made.Find("relu.branch")).op), "Relu");
  EXPECT_EQ(InputOf(made, "c"), "relu.branch");
  EXPECT_EQ(InputOf(made, "d"), "relu.branch") << "one copy for all";
  EXPECT_EQ(InputOf(made, "pool"), "relu");
  EXPECT_EQ(InputOf(made, "e"), "both");

  const at::Tensor images = at::randn({3, 2, 4, 4});
  EXPECT_TRUE(at::equal(*Executor::Create(graph, model.parameters)->Forward(images),
                        *Executor::Create(made, result->model.parameters)->Forward(images)));
  EXPECT_THAT(SplitShortcuts(result->model)->split, IsEmpty()) << "there is nothing left to split";
}

TEST(SplitShortcutsTest, EveryBlockOfAResNet) {
  const Graph graph = *BuildResnetCifar({});
  const auto result = SplitShortcuts({graph, InitParameters(graph, 1)});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->split, ElementsAre("relu", "layer1.0.relu2", "layer1.1.relu2", "layer1.2.relu2", "layer2.0.relu2",
                                         "layer2.1.relu2", "layer2.2.relu2", "layer3.0.relu2", "layer3.1.relu2"));
  EXPECT_EQ(InputOf(result->model.graph, "layer2.0.conv1"), "layer1.2.relu2.branch");

  // A convolution as the shortcut is a layer with a weight like others.
  BasicBlockResnetOptions options;
  options.blocks = {1, 1};
  options.widths = {4, 8};
  const Graph projected = *BuildBasicBlockResnet(options);
  EXPECT_THAT(SplitShortcuts({projected, InitParameters(projected, 1)})->split, ElementsAre("relu"));
}

TEST(SplitShortcutsTest, LeavesVectorsAndTakenNames) {
  Linear linear;
  linear.in_features = linear.out_features = 2;
  Conv2d narrow = Conv(2);
  narrow.kernel = {4, 4};
  const Graph vectors = *Graph::Create({{"in", Input{2, 4, 4}, {}},
                                        {"a", narrow, {0}},
                                        {"flat", Flatten{}, {1}},
                                        {"fc", linear, {2}},
                                        {"add", Add{}, {3, 2}}});
  EXPECT_THAT(SplitShortcuts({vectors, InitParameters(vectors, 1)})->split, IsEmpty());

  const Graph taken = *Graph::Create(
      {{"in", Input{2, 4, 4}, {}}, {"a", Conv(2), {0}}, {"a.branch", Conv(2), {1}}, {"add", Add{}, {2, 1}}});
  const auto refused = SplitShortcuts({taken, InitParameters(taken, 1)});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), testing::HasSubstr("a.branch"));
}

}  // namespace
}  // namespace lowbit
