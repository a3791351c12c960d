#include "reconstruction/blocks.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model_testing.h"
#include "model/passes/fold_batch_norm.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

std::vector<std::string> Names(const Graph& graph, const std::vector<Block>& blocks) {
  std::vector<std::string> names;
  for (const Block& block : blocks) names.push_back(block.Name(graph));
  return names;
}

Graph Folded(Shortcut shortcut) {
  ResnetCifarOptions options;
  options.shortcut = shortcut;
  auto graph = BuildResnetCifar(options);
  EXPECT_TRUE(graph.ok()) << graph.status();
  const ParameterMap parameters = InitParameters(*graph, 1);
  auto folded = FoldBatchNorm(Model{*std::move(graph), parameters});
  EXPECT_TRUE(folded.ok()) << folded.status();
  return folded->model.graph;
}

// What holds of the blocks of any network.
void ExpectPartition(const Graph& graph, const std::vector<Block>& blocks) {
  std::multiset<int> seen;
  int before = 0;
  for (const Block& block : blocks) {
    EXPECT_EQ(block.first, before);
    EXPECT_LT(block.first, block.last);
    before = block.last;
    for (const int layer : block.weighted) {
      EXPECT_TRUE(block.first < layer && layer <= block.last);
      seen.insert(layer);
    }
  }
  EXPECT_EQ(before, graph.size() - 1);
  for (int i = 0; i < graph.size(); ++i) EXPECT_EQ(seen.count(i), HasWeight(graph.layer(i).op) ? 1u : 0u) << i;
}

TEST(FindBlocksTest, OfResnet20) {
  for (const Shortcut shortcut : {Shortcut::kOptionA, Shortcut::kOptionB}) {
    const Graph graph = Folded(shortcut);
    const std::vector<Block> blocks = FindBlocks(graph);
    ExpectPartition(graph, blocks);
    ASSERT_EQ(blocks.size(), 11u);
    EXPECT_EQ(blocks[0].Name(graph), "conv1");
    EXPECT_EQ(graph.layer(blocks[0].last).name, "relu");
    EXPECT_EQ(blocks[1].Name(graph), "layer1.0.conv1 to layer1.0.conv2");
    EXPECT_EQ(graph.layer(blocks[1].last).name, "layer1.0.relu2");
    EXPECT_EQ(blocks[4].weighted.size(), shortcut == Shortcut::kOptionA ? 2u : 3u);
    // The pool comes before the linear layer, not after the last block.
    EXPECT_EQ(graph.layer(blocks[9].last).name, "layer3.2.relu2");
    EXPECT_EQ(blocks[10].Name(graph), "linear");
  }
}

Conv2d Conv3x3(int64_t in, int64_t out) {
  Conv2d conv{in, out, {3, 3}};
  conv.padding = {1, 1};
  conv.bias = true;
  return conv;
}

TEST(FindBlocksTest, OfAChainEachLayerIsABlock) {
  const Graph graph = Make({{"x", Input{2, 8, 8}, {}},
                            {"a", Conv3x3(2, 4), {0}},
                            {"a_relu", Relu{}, {1}},
                            {"pool", MaxPool{{2, 2}, {2, 2}}, {2}},
                            {"b", Conv3x3(4, 4), {3}},
                            {"b_relu", Relu{}, {4}},
                            {"flat", Flatten{}, {5}},
                            {"fc", Linear{64, 3}, {6}},
                            {"last_relu", Relu{}, {7}}});
  const std::vector<Block> blocks = FindBlocks(graph);
  ExpectPartition(graph, blocks);
  EXPECT_THAT(Names(graph, blocks), ElementsAre("a", "b", "fc"));
  EXPECT_EQ(blocks[0].last, 2);
  EXPECT_EQ(blocks[1].first, 2);
  EXPECT_EQ(blocks[1].last, 5);
}

TEST(FindBlocksTest, WithoutAWeightThereIsNone) {
  EXPECT_TRUE(FindBlocks(Make({{"x", Input{2, 8, 8}, {}}, {"relu", Relu{}, {0}}})).empty());
}

TEST(SingleLayersTest, TakeTheReluAfterThemAlong) {
  const Graph graph = Folded(Shortcut::kOptionA);
  const std::vector<Block> layers = SingleLayers(graph);
  ASSERT_EQ(layers.size(), 20u);
  EXPECT_EQ(graph.layer(layers[1].first).name, "relu");
  EXPECT_EQ(graph.layer(layers[1].last).name, "layer1.0.relu1");
  // An addition reads this one.
  EXPECT_EQ(graph.layer(layers[2].first).name, "layer1.0.relu1");
  EXPECT_EQ(graph.layer(layers[2].last).name, "layer1.0.conv2");
  // The linear layer reads what is flattened: an image comes before that.
  EXPECT_EQ(graph.layer(layers[19].first).name, "avgpool");
}

TEST(SingleLayersTest, LinearLayersInARowAreOne) {
  const Graph graph = Make({{"x", Input{2, 4, 4}, {}},
                            {"conv", Conv3x3(2, 2), {0}},
                            {"flat", Flatten{}, {1}},
                            {"fc1", Linear{32, 5}, {2}},
                            {"relu", Relu{}, {3}},
                            {"fc2", Linear{5, 3}, {4}}});
  EXPECT_THAT(Names(graph, SingleLayers(graph)), ElementsAre("conv", "fc1 to fc2"));
  EXPECT_THAT(Names(graph, FindBlocks(graph)), ElementsAre("conv", "fc1 to fc2"));
}

}  // namespace
}  // namespace lowbit
