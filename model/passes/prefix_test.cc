#include "model/passes/prefix.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

// in -> a -> add, in -> b -> add, b -> relu; out = add + relu.
Graph Diamond() {
  Conv2d conv;
  conv.in_channels = conv.out_channels = 2;
  return *Graph::Create({{"in", Input{2, 4, 4}, {}},
                         {"a", conv, {0}},
                         {"b", conv, {0}},
                         {"relu", Relu{}, {2}},
                         {"add", Add{}, {1, 2}},
                         {"out", Add{}, {4, 3}}});
}

TEST(PrefixTest, TakesWhatIsNeededAndNoMore) {
  const Graph graph = Diamond();
  EXPECT_THAT(NeededLayers(graph, 4), testing::ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(NeededLayers(graph, 3), testing::ElementsAre(0, 2, 3));
  const Model model{graph, InitParameters(graph, 1)};
  const Model prefix = Prefix(model, 3);
  EXPECT_EQ(prefix.graph.size(), 3);
  EXPECT_EQ(prefix.graph.layer(2).name, "relu");
  EXPECT_THAT(prefix.graph.layer(2).inputs, testing::ElementsAre(1));
  EXPECT_EQ(prefix.parameters.size(), 1u);
  EXPECT_TRUE(at::equal(prefix.parameters.at("b.weight"), model.parameters.at("b.weight")));
}

// Sees one output.
class Watch : public LayerHook {
 public:
  explicit Watch(int layer) : layer_(layer) {}
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    if (layer == layer_) seen_ = y.clone();
    return y;
  }
  const at::Tensor& seen() const { return seen_; }

 private:
  const int layer_;
  at::Tensor seen_;
};

TEST(PrefixTest, PutsOutWhatTheLayerPutsOut) {
  BasicBlockResnetOptions options;
  options.blocks = {1, 1};
  options.widths = {4, 8};
  options.stem_padding = 1;
  options.final_pool = 8;
  const auto graph = BuildBasicBlockResnet(options);
  ASSERT_TRUE(graph.ok()) << graph.status();
  const Model model{*graph, InitParameters(*graph, 2)};
  const at::Tensor images = at::full({2, 3, 32, 32}, 0.3f);
  const auto whole = Executor::Create(model.graph, model.parameters);
  ASSERT_TRUE(whole.ok());
  for (int i = 1; i < model.graph.size(); ++i) {
    Watch watch(i);
    ASSERT_TRUE(whole->Forward(images, &watch).ok());
    const Model prefix = Prefix(model, i);
    const auto part = Executor::Create(prefix.graph, prefix.parameters);
    ASSERT_TRUE(part.ok()) << part.status();
    const auto y = part->Forward(images);
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_TRUE(at::equal(*y, watch.seen())) << model.graph.layer(i).name;
  }
}

}  // namespace
}  // namespace lowbit
