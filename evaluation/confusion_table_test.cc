#include "evaluation/confusion_table.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

void Add(int label, int prediction, int count, ConfusionMatrix& confusion) {
  for (int i = 0; i < count; ++i) confusion.Add(label, prediction);
}

TEST(ConfusionTableTest, ExactText) {
  ConfusionMatrix confusion(2);
  Add(0, 0, 3, confusion);
  Add(0, 1, 1, confusion);
  Add(1, 1, 4, confusion);
  EXPECT_EQ(ConfusionTable(confusion, {"cat", "dog"}),
            "label \\ predicted    cat    dog  right\n"
            "cat                    3      1  75.00\n"
            "dog                    0      4 100.00\n");
}

TEST(ConfusionTableTest, AClassWithoutImagesHasNoShare) {
  ConfusionMatrix confusion(3);
  Add(0, 2, 7, confusion);
  Add(2, 2, 2, confusion);
  Add(2, 1, 1, confusion);
  EXPECT_EQ(ConfusionTable(confusion, {"a", "b", "c"}),
            "label \\ predicted      a      b      c  right\n"
            "a                      0      0      7   0.00\n"
            "b                      0      0      0      -\n"
            "c                      0      1      2  66.67\n");
}

TEST(ConfusionTableTest, LongNamesWidenTheColumns) {
  ConfusionMatrix confusion(2);
  Add(0, 0, 10000, confusion);
  EXPECT_EQ(ConfusionTable(confusion, {"automobile", "a name beyond the corner"}),
            "label \\ predicted                      automobile a name beyond the corner                    right\n"
            "automobile                                  10000                        0                   100.00\n"
            "a name beyond the corner                        0                        0                        -\n");
}

}  // namespace
}  // namespace lowbit
