#include "pipeline/report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

EvaluationRow Row(const std::string& variant, const std::string& name, bool quantized) {
  ClassificationMetrics metrics(2, 1);
  // Labels 0 0 1 1, taken for 0 1 1 1.
  EXPECT_TRUE(metrics.Add({1, 0, 0, 1, 0, 1, 0, 1}, {0, 0, 1, 1}).ok());
  EvaluationRow row;
  row.variant = variant;
  row.name = name;
  row.quantized = quantized;
  row.weight_bytes = 1234567;
  row.result.metrics = metrics.Report();
  row.result.confusion = metrics.confusion();
  if (!quantized) row.result.mistakes = {{1234, 0, 1, 0.99876}};
  row.result.forward_seconds = 0.01;
  row.result.wall_seconds = 0.02;
  return row;
}

Report Example() {
  Report report;
  report.config = "example";
  report.column = "bits";
  report.class_names = {"cat", "dog"};
  report.rows = {Row("", "", false), Row("4", "", true)};
  report.steps.push_back({{"step", "fold"}, {"seconds", 0.5}});
  report.models.push_back({{"file", "model_bits=4.safetensors"}, {"weight_bytes", 10}, {"file_bytes", 2000}});
  return report;
}

TEST(EvaluationRow, Label) {
  EXPECT_EQ(Row("", "", false).label(), "float");
  EXPECT_EQ(Row("", "", true).label(), "quantized");
  EXPECT_EQ(Row("", "before", false).label(), "before");
  EXPECT_EQ(Row("4", "", true).label(), "4");
  EXPECT_EQ(Row("4", "after", true).label(), "4 after");
}

TEST(Report, Table) {
  // Precision: (1 + 2/3) / 2; recall: (1/2 + 1) / 2; F1: (2/3 + 4/5) / 2.
  EXPECT_EQ(ReportTable(Example()),
            "bits   accuracy   top-1  precision  recall      F1  weight bytes  images/s\n"
            "-----  --------  ------  ---------  ------  ------  ------------  --------\n"
            "float    0.7500  0.7500     0.8333  0.7500  0.7333     1,234,567       400\n"
            "4        0.7500  0.7500     0.8333  0.7500  0.7333     1,234,567       400\n");
  EXPECT_EQ(ReportTable(Report()), "");
}

TEST(Report, PerClassTable) {
  EXPECT_EQ(PerClassTable(Row("", "", false), {"cat", "dog"}),
            "class  accuracy  precision      F1  images\n"
            "-----  --------  ---------  ------  ------\n"
            "cat      0.5000     1.0000  0.6667       2\n"
            "dog      1.0000     0.6667  0.8000       2\n");
}

TEST(Report, MistakesTable) {
  EXPECT_EQ(MistakesTable(Row("", "", false), {"cat", "dog"}),
            "image  class  taken for  confidence\n"
            "-----  -----  ---------  ----------\n"
            "1234   cat    dog            0.9988\n");
}

TEST(Report, Markdown) {
  const std::string text = ReportMarkdown(Example());
  EXPECT_THAT(text, testing::StartsWith("# example\n\n| bits  | accuracy |"));
  EXPECT_THAT(text, testing::HasSubstr("| 4     | micro    |    0.7500 | 0.7500 | 0.7500 |\n"));
  EXPECT_THAT(text, testing::HasSubstr("| model_bits=4.safetensors |           10 |      2,000 |\n"));
  EXPECT_THAT(text, testing::HasSubstr("\nbits: float\n\n| class | accuracy | precision |     F1 | images |\n"));
  EXPECT_THAT(text, testing::HasSubstr("| cat   |   0.5000 |    1.0000 | 0.6667 |      2 |\n"));
  EXPECT_THAT(text, testing::HasSubstr("\n## Most confident mistakes, bits: float\n\n| image | class | taken for |"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("mistakes, bits: 4")));
}

TEST(Report, JsonHoldsEverything) {
  const auto json = nlohmann::json::parse(ReportJson(Example()));
  const auto& row = json["evaluations"][1];
  EXPECT_EQ(row["label"], "4");
  EXPECT_EQ(row["images"], 4);
  EXPECT_EQ(row["top1"], 0.75);
  EXPECT_EQ(row["weighted"]["recall"], 0.75);
  EXPECT_EQ(row["per_class"][1]["class"], "dog");
  EXPECT_EQ(json["evaluations"][0]["mistakes"][0]["image"], 1234);
  EXPECT_EQ(json["evaluations"][0]["mistakes"][0]["taken_for"], "dog");
  EXPECT_FALSE(row.contains("mistakes"));
  EXPECT_EQ(row["per_class"][1]["support"], 2);
  EXPECT_EQ(row["confusion"], nlohmann::json::parse("[[1, 1], [0, 2]]"));
  EXPECT_EQ(json["models"][0]["file_bytes"], 2000);
  EXPECT_EQ(json["steps"][0]["step"], "fold");
}

}  // namespace
}  // namespace lowbit
