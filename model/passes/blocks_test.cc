#include "model/passes/blocks.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model_testing.h"
#include "model/parameters.h"
#include "model/passes/fold_batch_norm.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// "first > last: weighted" of each block, by the layers' names.
std::vector<std::string> Texts(const Graph& graph, const std::vector<Block>& blocks) {
  std::vector<std::string> texts;
  for (const Block& block : blocks) {
    std::string text = graph.layer(block.first).name + " > " + graph.layer(block.last).name + ":";
    for (const int layer : block.weighted) text += " " + graph.layer(layer).name;
    texts.push_back(text);
  }
  return texts;
}

std::vector<std::string> Names(const Graph& graph, const std::vector<Block>& blocks) {
  std::vector<std::string> names;
  for (const Block& block : blocks) names.push_back(block.Name(graph));
  return names;
}

Graph Folded(const absl::StatusOr<Graph>& graph) {
  EXPECT_TRUE(graph.ok()) << graph.status();
  auto folded = FoldBatchNorm({*graph, InitParameters(*graph, 1)});
  EXPECT_TRUE(folded.ok()) << folded.status();
  return folded->model.graph;
}

Conv2d Conv(int64_t in, int64_t out) {
  Conv2d conv{in, out, {3, 3}};
  conv.padding = {1, 1};
  return conv;
}

Graph LinearLayersInARow() {
  return Make({{"in", Input{3, 2, 2}, {}},
               {"conv", Conv(3, 4), {0}},
               {"flatten", Flatten{}, {1}},
               {"fc1", Linear{16, 5}, {2}},
               {"relu", Relu{}, {3}},
               {"fc2", Linear{5, 3}, {4}}});
}

void ExpectEachWeightedLayerOnce(const Graph& graph, const std::vector<Block>& blocks) {
  std::vector<int> count(static_cast<size_t>(graph.size()));
  for (const Block& block : blocks) {
    EXPECT_FALSE(block.weighted.empty());
    for (const int layer : block.weighted) {
      EXPECT_LT(block.first, layer);
      EXPECT_LE(layer, block.last);
      ++count[static_cast<size_t>(layer)];
    }
  }
  for (int i = 0; i < graph.size(); ++i) {
    EXPECT_EQ(count[static_cast<size_t>(i)], HasWeight(graph.layer(i).op) ? 1 : 0) << graph.layer(i).name;
  }
}

void ExpectThatTheyTouch(const Graph& graph, const std::vector<Block>& blocks) {
  ASSERT_FALSE(blocks.empty());
  EXPECT_EQ(blocks.front().first, 0);
  for (size_t i = 1; i < blocks.size(); ++i) EXPECT_EQ(blocks[i].first, blocks[i - 1].last);
  EXPECT_EQ(blocks.back().last, graph.size() - 1);
}

TEST(FindBlocksTest, ResNet20HasElevenBlocks) {
  const Graph graph = Folded(BuildResnetCifar({}));
  const std::vector<Block> blocks = FindBlocks(graph);
  EXPECT_THAT(Names(graph, blocks),
              ElementsAre("conv1", "layer1.0.conv1 to layer1.0.conv2", "layer1.1.conv1 to layer1.1.conv2",
                          "layer1.2.conv1 to layer1.2.conv2", "layer2.0.conv1 to layer2.0.conv2",
                          "layer2.1.conv1 to layer2.1.conv2", "layer2.2.conv1 to layer2.2.conv2",
                          "layer3.0.conv1 to layer3.0.conv2", "layer3.1.conv1 to layer3.1.conv2",
                          "layer3.2.conv1 to layer3.2.conv2", "linear"));
  const std::vector<std::string> texts = Texts(graph, blocks);
  EXPECT_EQ(texts[0], "input > relu: conv1");
  EXPECT_EQ(texts[4], "layer1.2.relu2 > layer2.0.relu2: layer2.0.conv1 layer2.0.conv2");
  EXPECT_EQ(texts[10], "layer3.2.relu2 > linear: linear");
  ExpectEachWeightedLayerOnce(graph, blocks);
  ExpectThatTheyTouch(graph, blocks);
}

TEST(FindBlocksTest, AShortcutsConvolutionBelongsToItsBlock) {
  ResnetCifarOptions options;
  options.shortcut = Shortcut::kOptionB;
  const Graph graph = Folded(BuildResnetCifar(options));
  const std::vector<Block> blocks = FindBlocks(graph);
  ASSERT_EQ(blocks.size(), 11u);
  EXPECT_THAT(
      Texts(graph, blocks)[4],
      testing::AllOf(testing::StartsWith("layer1.2.relu2 > layer2.0.relu2:"), testing::HasSubstr(" layer2.0.conv1"),
                     testing::HasSubstr(" layer2.0.conv2"), testing::HasSubstr(" layer2.0.shortcut.0")));
  EXPECT_EQ(blocks[4].weighted.size(), 3u);
  ExpectEachWeightedLayerOnce(graph, blocks);
  ExpectThatTheyTouch(graph, blocks);
}

// A relu belongs to what is before it, what pools to what comes after.
TEST(FindBlocksTest, AChainHasABlockForEachLayer) {
  const Graph graph = Make({{"in", Input{3, 8, 8}, {}},
                            {"conv1", Conv(3, 4), {0}},
                            {"relu1", Relu{}, {1}},
                            {"pool1", MaxPool{{2, 2}, {2, 2}}, {2}},
                            {"conv2", Conv(4, 4), {3}},
                            {"relu2", Relu{}, {4}},
                            {"flatten", Flatten{}, {5}},
                            {"fc", Linear{64, 5}, {6}}});
  const std::vector<Block> blocks = FindBlocks(graph);
  EXPECT_THAT(Texts(graph, blocks), ElementsAre("in > relu1: conv1", "relu1 > relu2: conv2", "relu2 > fc: fc"));
  ExpectThatTheyTouch(graph, blocks);
}

// No image is left behind the flatten, so nothing can be cut there.
TEST(FindBlocksTest, LinearLayersInARowAreOneBlock) {
  const Graph graph = LinearLayersInARow();
  EXPECT_THAT(Texts(graph, FindBlocks(graph)), ElementsAre("in > conv: conv", "conv > fc2: fc1 fc2"));
  EXPECT_THAT(Names(graph, FindBlocks(graph)), ElementsAre("conv", "fc1 to fc2"));
}

TEST(FindBlocksTest, WhatHasNoWeightAtTheEndBelongsToTheLastBlock) {
  const Graph graph = Make({{"in", Input{3, 2, 2}, {}},
                            {"pool0", MaxPool{}, {0}},
                            {"conv", Conv(3, 4), {1}},
                            {"pool", GlobalAvgPool{}, {2}},
                            {"relu", Relu{}, {3}},
                            {"flatten", Flatten{}, {4}}});
  EXPECT_THAT(Texts(graph, FindBlocks(graph)), ElementsAre("in > flatten: conv"));
  EXPECT_THAT(FindBlocks(Make({{"in", Input{3, 2, 2}, {}}, {"relu", Relu{}, {0}}})), IsEmpty());
}

TEST(SingleLayersTest, EachWithTheReluThatAloneReadsIt) {
  const Graph graph = Make({{"in", Input{3, 4, 4}, {}},
                            {"conv1", Conv(3, 4), {0}},
                            {"relu1", Relu{}, {1}},
                            {"conv2", Conv(4, 4), {2}},
                            {"relu2", Relu{}, {3}},
                            {"add", Add{}, {3, 4}},
                            {"conv3", Conv(4, 4), {5}},
                            {"add2", Add{}, {6, 2}},
                            {"conv4", Conv(4, 4), {7}}});
  const std::vector<Block> blocks = SingleLayers(graph);
  EXPECT_THAT(Texts(graph, blocks),
              ElementsAre("in > relu1: conv1", "relu1 > conv2: conv2", "add > conv3: conv3", "add2 > conv4: conv4"));
  ExpectEachWeightedLayerOnce(graph, blocks);
}

TEST(SingleLayersTest, OfResNet20) {
  const Graph graph = Folded(BuildResnetCifar({}));
  const std::vector<Block> blocks = SingleLayers(graph);
  EXPECT_EQ(blocks.size(), 20u);
  EXPECT_EQ(Texts(graph, blocks)[1], "relu > layer1.0.relu1: layer1.0.conv1");
  EXPECT_EQ(Texts(graph, blocks)[2], "layer1.0.relu1 > layer1.0.conv2: layer1.0.conv2");
  // What the linear layer reads is no image; what that was made of is.
  EXPECT_EQ(Texts(graph, blocks)[19], "avgpool > linear: linear");
  ExpectEachWeightedLayerOnce(graph, blocks);
}

TEST(SingleLayersTest, LinearLayersInARowAreOne) {
  const Graph graph = LinearLayersInARow();
  EXPECT_THAT(Texts(graph, SingleLayers(graph)), ElementsAre("in > conv: conv", "conv > fc2: fc1 fc2"));
  ExpectEachWeightedLayerOnce(graph, SingleLayers(graph));
}

// None is lost: what both read is learned with either.
TEST(SingleLayersTest, TwoThatReadALinearLayer) {
  const Graph graph = Make({{"in", Input{3, 2, 2}, {}},
                            {"conv", Conv(3, 4), {0}},
                            {"flatten", Flatten{}, {1}},
                            {"fc1", Linear{16, 5}, {2}},
                            {"fc2", Linear{5, 3}, {3}},
                            {"fc3", Linear{5, 3}, {3}},
                            {"add", Add{}, {4, 5}}});
  EXPECT_THAT(Texts(graph, SingleLayers(graph)),
              ElementsAre("in > conv: conv", "conv > fc2: fc1 fc2", "conv > fc3: fc1 fc3"));
}

}  // namespace
}  // namespace lowbit
