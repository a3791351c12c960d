#include "model/summary.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(SummaryTest, OneRowPerLayerAndTheTotals) {
  Conv2d conv{3, 16, {3, 3}};
  conv.padding = {1, 1};
  const auto graph = Graph::Create({{"input", Input{3, 32, 32}, {}},
                                    {"conv1", conv, {0}},
                                    {"bn", BatchNorm{16}, {1}},
                                    {"avgpool", GlobalAvgPool{}, {2}},
                                    {"flatten", Flatten{}, {3}},
                                    {"linear", Linear{16, 64}, {4}}});
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(Summary(*graph),
            "layer    operation      output        parameters     MACs\n"
            "input    Input          [3, 32, 32]            0        0\n"
            "conv1    Conv2d         [16, 32, 32]         432  442,368\n"
            "bn       BatchNorm      [16, 32, 32]          32        0\n"
            "avgpool  GlobalAvgPool  [16, 1, 1]             0        0\n"
            "flatten  Flatten        [16]                   0        0\n"
            "linear   Linear         [64]               1,088    1,024\n"
            "total    6 layers                          1,552  443,392\n");
}

TEST(SummaryTest, MillionsAreGroupedInThrees) {
  const auto graph = Graph::Create(
      {{"i", Input{1000, 1, 1}, {}}, {"flatten", Flatten{}, {0}}, {"fc", Linear{1000, 1234, false}, {1}}});
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(Summary(*graph),
            "layer    operation  output        parameters       MACs\n"
            "i        Input      [1000, 1, 1]           0          0\n"
            "flatten  Flatten    [1000]                 0          0\n"
            "fc       Linear     [1234]         1,234,000  1,234,000\n"
            "total    3 layers                  1,234,000  1,234,000\n");
}

}  // namespace
}  // namespace lowbit
