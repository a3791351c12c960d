// The whole way on real images with the committed weights: fold, calibrate, quantize, pack, evaluate.

#include <cstdlib>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "pipeline/config.h"
#include "pipeline/paths.h"
#include "pipeline/pivot_table.h"
#include "pipeline/run.h"
#include "pipeline/run_plan.h"
#include "quant/quantized_model.h"

namespace lowbit {
namespace {

constexpr int kImages = 1000;

// configs/<name>.textproto on the first thousand test images.
absl::StatusOr<RunResult> RunConfig(const std::string& name, const std::string& output_dir) {
  const std::string path = absl::StrCat("configs/", name, ".textproto");
  auto config = Config::Parse(*ReadFile(path), path);
  if (!config.ok()) return config.status();
  EXPECT_TRUE(config->Set("output_dir", output_dir, "test").ok());
  for (int i = 0; i < config->proto().steps_size(); ++i) {
    if (!config->proto().steps(i).has_evaluate()) continue;
    EXPECT_TRUE(config->Set(absl::StrCat("steps[", i, "].evaluate.max_images"), absl::StrCat(kImages), "test").ok());
  }
  const auto plan = PlanRun(*config, {});
  if (!plan.ok()) return plan.status();
  RunResult result;
  const absl::Status status = ExecuteRun(*plan, &result);
  if (!status.ok()) return status;
  return result;
}

std::string OutputDir(const char* name) {
  const auto folder = CreateUniqueDir(JoinPath(testing::TempDir(), name));
  EXPECT_TRUE(folder.ok());
  return *folder;
}

std::map<std::string, EvaluationRow> ByLabel(const Report& report) {
  std::map<std::string, EvaluationRow> rows;
  for (const EvaluationRow& row : report.rows) rows.emplace(row.label(), row);
  return rows;
}

TEST(EndToEnd, TheBitWidthSweep) {
  const auto run = RunConfig("bit_width_sweep", OutputDir("sweep"));
  ASSERT_TRUE(run.ok()) << run.status();
  const auto rows = ByLabel(run->report);
  ASSERT_EQ(rows.size(), 5u);
  const auto top1 = [&](const char* label) { return rows.at(label).result.metrics.top1; };
  EXPECT_EQ(rows.at("float").result.metrics.images, kImages);
  EXPECT_GE(top1("float"), 0.91);
  EXPECT_NEAR(top1("16"), top1("float"), 0.002);
  EXPECT_NEAR(top1("8"), top1("float"), 0.006);
  EXPECT_GE(top1("4"), 0.6);
  EXPECT_GE(top1("2"), 0.08);  // chance, all but
  EXPECT_LT(top1("2"), top1("4"));

  // Weight bytes: the codes, a scale for each of 688 output channels, and the linear layer's 640 numbers in float. At
  // two bits each of the first convolution's 16 rows, of 27 codes, ends on a quarter of a byte that is filled up.
  EXPECT_EQ(rows.at("8").weight_bytes, 267696 + 4 * 688 + 4 * 640);
  EXPECT_EQ(rows.at("2").weight_bytes, 267696 / 4 + 16 / 4 + 4 * 688 + 4 * 640);
  EXPECT_EQ(rows.at("float").weight_bytes, 4 * (267696 + 640));

  const auto& fold = run->report.steps[1];
  EXPECT_EQ(fold["folded"], 19);
  EXPECT_LT(fold["max_logit_difference"], 1e-3);
}

TEST(EndToEnd, AllLayersAtTwoBitsTakeTwentyEightHundredthsOfEight) {
  const auto rows = [] {
    const auto run = RunConfig("bit_width_sweep_per_channel", OutputDir("per_channel"));
    EXPECT_TRUE(run.ok()) << run.status();
    return ByLabel(run->report);
  }();
  EXPECT_LE(static_cast<double>(rows.at("2").weight_bytes), 0.28 * static_cast<double>(rows.at("8").weight_bytes));
  const double top1 = rows.at("float").result.metrics.top1;
  EXPECT_NEAR(rows.at("16").result.metrics.top1, top1, 0.002);
  EXPECT_NEAR(rows.at("8").result.metrics.top1, top1, 0.005);
  EXPECT_NEAR(rows.at("6").result.metrics.top1, top1, 0.02);
  EXPECT_GE(rows.at("4").result.metrics.top1, 0.75);
}

TEST(EndToEnd, TheTableOfPtqResnet20WithLibTorchsInt8) {
  const std::string output_dir = OutputDir("seed_table");
  const auto run = RunConfig("seed_table", output_dir);
  ASSERT_TRUE(run.ok()) << run.status();
  const auto rows = ByLabel(run->report);
  ASSERT_EQ(rows.size(), 6u);
  const EvaluationRow& int8 = rows.at("LibTorch int8");
  EXPECT_NEAR(int8.result.metrics.top1, rows.at("float").result.metrics.top1, 0.006);
  EXPECT_EQ(int8.weight_bytes, 267696 + 640 + 4 * (688 + 10));

  const auto validated = RunConfig("validate_int8", output_dir);
  ASSERT_TRUE(validated.ok()) << validated.status();
  EXPECT_EQ(validated->report.rows.back().result.metrics.top1, int8.result.metrics.top1);
}

TEST(EndToEnd, ATableOfMethodsByWidth) {
  const auto run = RunConfig("ptq_table_short", OutputDir("table"));
  ASSERT_TRUE(run.ok()) << run.status();
  const PivotTable& table = run->report.table;
  ASSERT_EQ(table.pages.size(), 2u);
  ASSERT_EQ(table.baselines.size(), 1u);
  EXPECT_EQ(table.images, kImages);
  const double top1 = table.baselines[0].second;
  EXPECT_GE(top1, 0.91);
  const PivotPage& ends = table.pages[0];
  const PivotPage& all = table.pages[1];
  EXPECT_EQ(ends.values[0].second, "8-bit ends");
  EXPECT_THAT(table.heads, testing::ElementsAre("W8A8", "W4A4"));
  for (size_t method = 0; method < 3; ++method) {
    SCOPED_TRACE(ends.rows[method].label);
    const auto& cells = ends.rows[method].cells;
    EXPECT_NEAR(cells[0].mean, top1, 0.008);
    EXPECT_EQ(all.rows[method].cells[0].mean, cells[0].mean);
    EXPECT_GE(cells[1].mean, 0.8);
    EXPECT_GE(all.rows[method].cells[1].mean, 0.7);
    EXPECT_LT(all.rows[method].cells[1].mean, cells[1].mean);
    EXPECT_GT(ends.rows[method].seconds, 0);
  }
  // The float network, and each method at 8 bits (whatever the policy) and at 4 bits with each policy.
  int evaluations = 0, passes = 0;
  for (const auto& step : run->report.steps) {
    evaluations += step["step"] == "evaluate";
    passes += step["step"] == "calibrate";
  }
  EXPECT_EQ(evaluations, 1 + 3 * 3);
  EXPECT_EQ(passes, 1);
  EXPECT_EQ(*ReadFile(JoinPath(run->folder, "table.md")), PivotMarkdown(table));
}

TEST(EndToEnd, APackedModelIsLoadedToTheSameBytesAndTheSameAccuracy) {
  const std::string output_dir = OutputDir("packed");
  const auto run = RunConfig("resnet20_w4a4_per_channel", output_dir);
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string path = JoinPath(run->folder, "model.safetensors");
  const auto model = LoadQuantizedModel(path);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(*SerializeQuantizedModel(*model), *ReadFile(path));

  const auto evaluated = RunConfig("validate_packed", output_dir);
  ASSERT_TRUE(evaluated.ok()) << evaluated.status();
  const EvaluationRow& before = run->report.rows.back();
  const EvaluationRow& after = evaluated->report.rows.back();
  EXPECT_GE(after.result.metrics.top1, 0.75);
  EXPECT_EQ(after.result.metrics.top1, before.result.metrics.top1);
  for (int label = 0; label < 10; ++label) {
    for (int taken_for = 0; taken_for < 10; ++taken_for) {
      EXPECT_EQ(after.result.confusion.count(label, taken_for), before.result.confusion.count(label, taken_for));
    }
  }
}

}  // namespace
}  // namespace lowbit
