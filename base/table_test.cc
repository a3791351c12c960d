#include "base/table.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

const TableRows kRows = {{"bits", "accuracy", "what"}, {"float", "0.9", "a"}, {"16", "0.9153", "longer"}};

TEST(Table, AlignsColumns) {
  EXPECT_EQ(AlignedTable(kRows),
            "bits   accuracy  what\n"
            "-----  --------  ------\n"
            "float       0.9  a\n"
            "16       0.9153  longer\n");
}

TEST(Table, Markdown) {
  EXPECT_EQ(MarkdownTable(kRows),
            "| bits  | accuracy | what   |\n"
            "|-------|---------:|--------|\n"
            "| float |      0.9 | a      |\n"
            "| 16    |   0.9153 | longer |\n");
}

TEST(Table, AHeadAlone) { EXPECT_EQ(AlignedTable({{"a", "bc"}}), "a  bc\n-  --\n"); }

}  // namespace
}  // namespace lowbit
