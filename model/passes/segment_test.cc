#include "model/passes/segment.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

// in -> a; a -> b -> add, a -> add; b -> relu; out = add + relu.
Graph Diamond() {
  Conv2d conv;
  conv.in_channels = conv.out_channels = 2;
  return *Graph::Create({{"in", Input{2, 4, 4}, {}},
                         {"a", conv, {0}},
                         {"b", conv, {1}},
                         {"relu", Relu{}, {2}},
                         {"add", Add{}, {2, 1}},
                         {"out", Add{}, {4, 3}}});
}

TEST(SegmentTest, HandComputed) {
  const Graph graph = Diamond();
  EXPECT_THAT(NeededLayers(graph, 4), testing::ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(NeededLayers(graph, 3), testing::ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(LastCut(graph, 1, 1), 0);
  EXPECT_EQ(LastCut(graph, 2, 4), 1);
  EXPECT_EQ(LastCut(graph, 3, 3), 2) << "add does not count";
  EXPECT_EQ(LastCut(graph, 5, 5), 1) << "b is gone round";
  const Model model{graph, InitParameters(graph, 1)};
  const Model segment = Segment(model, 1, 4);
  ASSERT_EQ(segment.graph.size(), 3);
  EXPECT_EQ(segment.graph.layer(0).name, "a");
  EXPECT_EQ(segment.graph.layer(2).name, "add");
  EXPECT_THAT(segment.graph.layer(2).inputs, testing::ElementsAre(1, 0));
  EXPECT_EQ(segment.parameters.size(), 1u);
  EXPECT_TRUE(at::equal(segment.parameters.at("b.weight"), model.parameters.at("b.weight")));
}

// Keeps every output.
class Watch : public LayerHook {
 public:
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    seen[layer] = y.clone();
    return y;
  }
  std::map<int, at::Tensor> seen;
};

TEST(SegmentTest, PutsOutWhatTheLayerPutsOut) {
  BasicBlockResnetOptions options;
  options.blocks = {1, 1};
  options.widths = {4, 8};
  options.stem_padding = 1;
  options.final_pool = 8;
  const auto graph = BuildBasicBlockResnet(options);
  ASSERT_TRUE(graph.ok()) << graph.status();
  const Model model{*graph, InitParameters(*graph, 2)};
  const auto whole = Executor::Create(model.graph, model.parameters);
  ASSERT_TRUE(whole.ok());
  Watch watch;
  ASSERT_TRUE(whole->Forward(at::full({2, 3, 32, 32}, 0.3f), &watch).ok());
  int late_cuts = 0;
  for (int i = 1; i < model.graph.size(); ++i) {
    const int cut = LastCut(model.graph, i, i);
    late_cuts += cut > 0;
    const Model segment = Segment(model, cut, i);
    const auto part = Executor::Create(segment.graph, segment.parameters);
    ASSERT_TRUE(part.ok()) << part.status();
    const auto y = part->Forward(watch.seen.at(cut));
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_TRUE(at::equal(*y, watch.seen.at(i))) << model.graph.layer(i).name;
  }
  EXPECT_GT(late_cuts, 10);
}

}  // namespace
}  // namespace lowbit
