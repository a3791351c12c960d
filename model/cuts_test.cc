#include "model/cuts.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

Model Small() {
  BasicBlockResnetOptions options;
  options.blocks = {1, 1};
  options.widths = {4, 8};
  options.stem_padding = 1;
  auto graph = BuildBasicBlockResnet(options);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return {*graph, InitParameters(*graph, 1)};
}

TEST(CutsTest, AreWhereOneTensorIsAllThatIsNeeded) {
  const Model model = Small();
  std::vector<std::string> names;
  for (const int cut : Cuts(model.graph)) names.push_back(model.graph.layer(cut).name);
  // Within a block the shortcut is still to be added; flatten puts out no image.
  EXPECT_THAT(names, testing::ElementsAre("input", "conv1", "bn1", "relu", "layer1.0.add", "layer1.0.relu2",
                                          "layer2.0.add", "layer2.0.relu2", "avgpool"));
}

// Keeps what one layer puts out.
class Keep : public LayerHook {
 public:
  explicit Keep(int layer) : layer_(layer) {}
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    if (layer == layer_) kept = y.clone();
    return y;
  }
  at::Tensor kept;

 private:
  const int layer_;
};

TEST(CutsTest, WhatComesAfterGivesTheSameOnTheTensorAtTheCut) {
  const Model model = Small();
  const auto whole = Executor::Create(model.graph, model.parameters);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const at::Tensor images = at::rand({3, 3, 32, 32});
  for (const int cut : Cuts(model.graph)) {
    Keep keep(cut);
    const auto wanted = whole->Forward(images, &keep);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    const auto after = AfterCut(model, cut);
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_EQ(after->graph.layer(1).name, model.graph.layer(cut + 1).name);
    const auto rest = Executor::Create(after->graph, after->parameters);
    ASSERT_TRUE(rest.ok()) << rest.status();
    const auto got = rest->Forward(keep.kept);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE(at::equal(*got, *wanted)) << model.graph.layer(cut).name;
  }
}

}  // namespace
}  // namespace lowbit
