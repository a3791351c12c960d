#include "model/passes/weight_pairs.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Graph Make(std::vector<Layer> layers) {
  auto graph = Graph::Create(std::move(layers));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

TEST(WeightPairsTest, ThroughReluAndWithoutOne) {
  const WeightPairs found = FindWeightPairs(Make({{"input", Input{1, 4, 4}, {}},
                                                  {"conv1", Conv2d{1, 2}, {0}},
                                                  {"relu", Relu{}, {1}},
                                                  {"conv2", Conv2d{2, 3}, {2}},
                                                  {"conv3", Conv2d{3, 1}, {3}}}));
  ASSERT_EQ(found.pairs.size(), 2u);
  EXPECT_EQ(found.pairs[0].first, 1);
  EXPECT_EQ(found.pairs[0].second, 3);
  EXPECT_THAT(found.pairs[0].source, ElementsAre(0, 1));
  EXPECT_TRUE(found.pairs[0].through_relu);
  EXPECT_EQ(found.pairs[1].first, 3);
  EXPECT_EQ(found.pairs[1].second, 4);
  EXPECT_FALSE(found.pairs[1].through_relu);
  EXPECT_THAT(found.unpaired, IsEmpty());
}

// 2 channels of 4x4 -> pooled 2x2 -> a channel of zeros before and two after -> 5 channels of 1x2 -> 10 features.
TEST(WeightPairsTest, FollowsChannelsThroughPoolsPaddingAndFlatten) {
  const WeightPairs found = FindWeightPairs(Make({{"input", Input{1, 4, 4}, {}},
                                                  {"conv", Conv2d{1, 2}, {0}},
                                                  {"max", MaxPool{{2, 2}, {2, 2}}, {1}},
                                                  {"average", AvgPool{{1, 1}, {1, 1}}, {2}},
                                                  {"pad", PadChannels{1, 2}, {3}},
                                                  {"subsample", Subsample{{2, 1}}, {4}},
                                                  {"flatten", Flatten{}, {5}},
                                                  {"fc", Linear{10, 3}, {6}}}));
  ASSERT_EQ(found.pairs.size(), 1u);
  EXPECT_THAT(found.pairs[0].source, ElementsAre(-1, -1, 0, 0, 1, 1, -1, -1, -1, -1));
}

TEST(WeightPairsTest, SaysWhatIsInTheWay) {
  const WeightPairs found = FindWeightPairs(Make({{"input", Input{1, 4, 4}, {}},
                                                  {"conv1", Conv2d{1, 2}, {0}},
                                                  {"relu", Relu{}, {1}},
                                                  {"conv2", Conv2d{2, 2}, {2}},
                                                  {"bn", BatchNorm{2}, {3}},
                                                  {"conv3", Conv2d{2, 2}, {4}},
                                                  {"add", Add{}, {5, 2}},
                                                  {"conv4", Conv2d{2, 2}, {6}},
                                                  {"relu4", Relu{}, {7}}}));
  EXPECT_THAT(found.pairs, IsEmpty());
  EXPECT_THAT(found.unpaired,
              ElementsAre("conv1: \"relu\" is read 2 times", "conv2: its output goes into \"bn\" (BatchNorm)",
                          "conv3: its output goes into \"add\" (Add)", "conv4: \"relu4\" is the network's output"));
}

// With batch norms in the way there is none; without, the two convolutions of each block.
TEST(WeightPairsTest, NoneInResNetWithBatchNorms) {
  const auto graph = BuildResnetCifar({20, Shortcut::kOptionA});
  ASSERT_TRUE(graph.ok()) << graph.status();
  const WeightPairs found = FindWeightPairs(*graph);
  EXPECT_THAT(found.pairs, IsEmpty());
  EXPECT_EQ(found.unpaired.size(), 19u);  // All but the last layer, which nobody expects to have a successor.
}

}  // namespace
}  // namespace lowbit
