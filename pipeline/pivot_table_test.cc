#include "pipeline/pivot_table.h"

#include "base/field_error.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

const std::vector<SweepAxis> kAxes = {{"method", {"mse", "kl"}, 3, false},
                                      {"width", {"W8A8", "W4A4"}, 3, false},
                                      {"policy", {"ends", "all"}, 3, false},
                                      {"seed", {"1", "2", "3"}, 5, true}};

absl::StatusOr<TableLayout> LayOut(const std::string& text, const std::vector<SweepAxis>& axes = kAxes) {
  TableConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config));
  return LayOutTable(config, axes);
}

// "field: message"
std::string Error(const std::string& text, const std::vector<SweepAxis>& axes = kAxes) {
  const absl::Status status = LayOut(text, axes).status();
  return ErrorField(status).value_or("") + ": " + std::string(status.message());
}

TEST(LayOutTable, FindsTheAxes) {
  const auto layout = LayOut("rows: 'method' columns: 'width' pages: 'policy' mean_over: 'seed'");
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(layout->rows, 0);
  EXPECT_EQ(layout->columns, 1);
  EXPECT_THAT(layout->pages, ElementsAre(2));
  EXPECT_THAT(layout->mean_over, ElementsAre(3));
  // Of one value there is nothing to lay out.
  const auto alone = LayOut("rows: 'a'", {{"a", {"1", "2"}, 0, false}, {"b", {"1"}, 0, false}});
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(alone->columns, -1);
}

TEST(LayOutTable, SaysWhatIsWrong) {
  EXPECT_EQ(Error("rows: 'method'", {}), ": is about sweeps, and there is none");
  EXPECT_EQ(Error("columns: 'width'"), "rows: is missing; it names the sweep whose values have a row each");
  EXPECT_EQ(Error("rows: 'method' pages: 'widht'"),
            "pages[0]: unknown sweep \"widht\"; did you mean \"width\"? (known: method, policy, seed, width)");
  EXPECT_EQ(Error("rows: 'method' columns: 'width' pages: 'policy' mean_over: 'width'"),
            "mean_over[0]: \"width\" stands in columns too");
  EXPECT_EQ(Error("rows: 'method' columns: 'width' pages: 'policy'"),
            ": does not say where the values of the sweep \"seed\" stand: rows, columns, pages or mean_over");
}

// Two methods, two widths, two policies, three seeds; kl at W8A8 is left out, and of "all" little is done.
PivotTable Example() {
  std::vector<VariantScore> scores;
  const auto add = [&](std::vector<int> choice, double top1, double seconds) {
    scores.push_back({std::move(choice), top1 >= 0, top1, seconds});
  };
  // Mean (0.90 + 0.92 + 0.91) / 3 = 0.91, spread 0.92 - 0.90.
  add({0, 0, 0, 0}, 0.90, 1.5);
  add({0, 0, 0, 1}, 0.92, 2.25);
  add({0, 0, 0, 2}, 0.91, 0.5);
  // Mean (0.5 + 0.5 + 0.8) / 3 = 0.6, spread 0.3.
  add({0, 1, 0, 0}, 0.5, 1);
  add({0, 1, 0, 1}, 0.5, 1);
  add({0, 1, 0, 2}, 0.8, 1);
  // Mean 0.1, spread 0.
  for (int seed = 0; seed < 3; ++seed) add({1, 1, 0, seed}, 0.1, 4);
  // Of the second page two of three of one cell, 0.75 and 0.25, one of three of another.
  add({0, 0, 1, 0}, 0.75, 3);
  add({0, 0, 1, 1}, 0.25, 3);
  add({0, 0, 1, 2}, -1, 0);
  add({0, 1, 1, 0}, 0.5, 1);
  for (int seed = 1; seed < 3; ++seed) add({0, 1, 1, seed}, -1, 0);
  for (int seed = 0; seed < 3; ++seed) add({1, 1, 1, seed}, -1, 0);
  PivotTable table =
      MakePivotTable(*LayOut("rows: 'method' columns: 'width' pages: 'policy' mean_over: 'seed'"), kAxes, scores);
  table.baselines = {{"float", 0.9251}};
  table.images = 10000;
  return table;
}

TEST(PivotTable, MeansSpreadsAndWhatIsMissing) {
  const PivotTable table = Example();
  ASSERT_EQ(table.pages.size(), 2u);
  const PivotCell& cell = table.pages[0].rows[0].cells[0];
  EXPECT_EQ(cell.planned, 3);
  EXPECT_EQ(cell.done, 3);
  EXPECT_DOUBLE_EQ(cell.mean, 0.91);
  EXPECT_EQ(cell.smallest, 0.90);
  EXPECT_EQ(cell.largest, 0.92);
  EXPECT_DOUBLE_EQ(table.pages[0].rows[0].cells[1].mean, 0.6);
  EXPECT_EQ(table.pages[0].rows[0].seconds, 2.25);
  EXPECT_EQ(table.pages[0].rows[1].cells[0].planned, 0);
  EXPECT_EQ(table.pages[1].rows[0].cells[0].done, 2);
  EXPECT_EQ(table.pages[1].rows[0].cells[0].smallest, 0.25);
}

TEST(PivotTable, Text) {
  EXPECT_EQ(
      PivotText(Example()),
      "Top-1 accuracy in percent of 10000 images; the mean over seed, in brackets the largest less the smallest.\n"
      "Seconds: the longest that the quantization of one of the row took, without evaluation. Steps that are done "
      "once for several,\n"
      "such as calibration, count in full.\n"
      "\n"
      "policy: ends\n"
      "\n"
      "method          W8A8           W4A4  seconds\n"
      "------  ------------  -------------  -------\n"
      "float          92.51          92.51\n"
      "mse     91.00 (2.00)  60.00 (30.00)      2.2\n"
      "kl                 -   10.00 (0.00)      4.0\n"
      "\n"
      "policy: all\n"
      "\n"
      "method                 W8A8         W4A4  seconds\n"
      "------  -------------------  -----------  -------\n"
      "float                 92.51        92.51\n"
      "mse     50.00 (50.00) [2/3]  50.00 [1/3]      3.0\n"
      "kl                        -        [0/3]\n");
}

TEST(PivotTable, Markdown) {
  const std::string text = PivotMarkdown(Example());
  EXPECT_THAT(text, testing::HasSubstr("\n### policy: ends\n\n| method |         W8A8 |          W4A4 | seconds |\n"
                                       "|--------|-------------:|--------------:|--------:|\n"
                                       "| float  |        92.51 |         92.51 |         |\n"
                                       "| mse    | 91.00 (2.00) | 60.00 (30.00) |     2.2 |\n"));
}

TEST(PivotTable, Json) {
  const auto json = PivotJson(Example());
  EXPECT_EQ(json["mean_over"], nlohmann::ordered_json({"seed"}));
  EXPECT_EQ(json["images"], 10000);
  EXPECT_EQ(json["baselines"][0]["name"], "float");
  const auto& page = json["pages"][1];
  EXPECT_EQ(page["values"]["policy"], "all");
  EXPECT_EQ(page["rows"][0]["row"], "mse");
  const auto& cell = page["rows"][0]["cells"][0];
  EXPECT_EQ(cell["column"], "W8A8");
  EXPECT_EQ(cell["planned"], 3);
  EXPECT_EQ(cell["done"], 2);
  EXPECT_EQ(cell["mean"], 0.5);
  EXPECT_EQ(cell["largest"], 0.75);
  // JSON has no number for what is not known.
  EXPECT_FALSE(page["rows"][1]["cells"][1].contains("mean"));
}

TEST(PivotTable, RowsAndColumnsThatAreWhollyLeftOutAreNotThere) {
  const std::vector<SweepAxis> axes = {{"method", {"mse", "kl"}, 0, false}, {"width", {"W8A8", "W4A4"}, 0, false}};
  const PivotTable table =
      MakePivotTable(*LayOut("rows: 'method' columns: 'width'", axes), axes, {{{1, 1}, true, 0.5, 2}});
  EXPECT_THAT(PivotText(table), testing::EndsWith("\n\nmethod   W4A4  seconds\n"
                                                  "------  -----  -------\n"
                                                  "kl      50.00      2.0\n"));
}

TEST(PivotTable, WithoutColumnsPagesAndMeans) {
  const std::vector<SweepAxis> axes = {{"bits", {"2", "4"}, 0, false}};
  const PivotTable table =
      MakePivotTable(*LayOut("rows: 'bits'", axes), axes, {{{0}, true, 0.125, 0}, {{1}, false, 0, 0}});
  EXPECT_EQ(
      PivotText(table),
      "Top-1 accuracy in percent.\n"
      "Seconds: the longest that the quantization of one of the row took, without evaluation. Steps that are done "
      "once for several,\n"
      "such as calibration, count in full.\n"
      "\n"
      "bits  top-1  seconds\n"
      "----  -----  -------\n"
      "2     12.50      0.0\n"
      "4     [0/1]\n");
}

}  // namespace
}  // namespace lowbit
