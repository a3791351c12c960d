// Runs of several variants: what is done once, what is called how, and the table.

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "pipeline/paths.h"
#include "pipeline/plan_text.h"
#include "pipeline/run_fixture.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;
using testing::UnorderedElementsAre;

constexpr char kFloat[] = "steps { evaluate { name: \"float\" } }";
// Steps of the config below: evaluate, fold, calibrate, quantize, evaluate.
constexpr char kBits[] = R"(
  sweep {
    column: "bits"
    fields: "steps[3].quantize.rules[0].weights.quantizer.bits"
    fields: "steps[3].quantize.rules[0].activations.quantizer.bits"
    values: ["2", "4"]
  }
)";
constexpr char kSeeds[] = "sweep { column: \"seed\" fields: \"seed\" values: [\"1\", \"2\"] }\n";
constexpr char kTable[] = "table { rows: \"bits\" mean_over: \"seed\" }\n";

class RunSweepTest : public RunTest {
 protected:
  // With a count of the images read; `on_test_read` hears of each test image.
  absl::Status RunCounting(
      const std::string& text, RunResult* result, int64_t* train_reads, int64_t* test_reads,
      std::function<void(int64_t)> on_test_read = [](int64_t) {}) {
    auto config = Config::Parse(text, "configs/tiny.textproto");
    EXPECT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(config->Set("output_dir", output_dir_, "test").ok());
    std::atomic<int64_t> train{0}, test{0};
    PlanOptions options;
    options.open_data = [&](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
      return std::make_unique<Counting>(*OpenSynthetic(split), [&, split](int64_t reads) {
        ++(split == Split::kTrain ? train : test);
        if (split == Split::kTest) on_test_read(reads);
      });
    };
    const auto plan = PlanRun(*config, options);
    EXPECT_TRUE(plan.ok()) << plan.status();
    const absl::Status status = ExecuteRun(*plan, result);
    *train_reads = train;
    *test_reads = test;
    return status;
  }

  // "quantize bits=2,seed=1"
  static std::vector<std::string> StepsOf(const Report& report) {
    std::vector<std::string> steps;
    for (const auto& step : report.steps) {
      const std::string variant = step["variant"];
      steps.push_back(absl::StrCat(std::string(step["step"]), variant.empty() ? "" : " ", variant));
    }
    return steps;
  }

  static std::vector<std::string> Labels(const Report& report) {
    std::vector<std::string> labels;
    for (const EvaluationRow& row : report.rows) labels.push_back(row.label());
    return labels;
  }
};

TEST_F(RunSweepTest, VariantsShareTheirStepsUpToTheFirstThatDiffers) {
  const std::string start = absl::StrCat(TrainedModel(), kFloat, kQuantize);
  RunResult run;
  int64_t train_reads = 0, test_reads = 0;
  ASSERT_TRUE(RunCounting(absl::StrCat(start, kBits, kSeeds), &run, &train_reads, &test_reads).ok());
  // What begins with the same seed stands together, whatever the order of the sweeps.
  EXPECT_THAT(StepsOf(run.report),
              ElementsAre("evaluate", "fold seed=1", "calibrate seed=1", "quantize bits=2,seed=1",
                          "evaluate bits=2,seed=1", "quantize bits=4,seed=1", "evaluate bits=4,seed=1", "fold seed=2",
                          "calibrate seed=2", "quantize bits=2,seed=2", "evaluate bits=2,seed=2",
                          "quantize bits=4,seed=2", "evaluate bits=4,seed=2"));
  EXPECT_THAT(Labels(run.report),
              ElementsAre("float", "bits=2,seed=1", "bits=4,seed=1", "bits=2,seed=2", "bits=4,seed=2"));
  EXPECT_EQ(run.report.column, "variant");
  // For each seed the comparison of the fold step and one pass for both widths.
  EXPECT_EQ(train_reads, 2 * (32 + 32));
  EXPECT_EQ(test_reads, 5 * 40);
  // A folder of TensorBoard's for each name.
  EXPECT_THAT(FilesIn(JoinPath(run.folder, "tensorboard")),
              IsSupersetOf({"bits=2,seed=1", "bits=4,seed=1", "bits=2,seed=2", "bits=4,seed=2"}));

  // What a sweep makes of a variant is what a run of its own makes of it.
  const auto alone = Run(absl::StrCat("seed: 2\n", start, "sweep { column: \"bits\"", R"(
    fields: "steps[3].quantize.rules[0].weights.quantizer.bits"
    fields: "steps[3].quantize.rules[0].activations.quantizer.bits"
    values: "4" })"));
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_THAT(Labels(alone->report), ElementsAre("float", "4"));
  const std::string model = Bytes(run.folder, "model_bits=4,seed=2.safetensors");
  EXPECT_EQ(model, Bytes(alone->folder, "model_bits=4.safetensors"));
  EXPECT_NE(model, Bytes(run.folder, "model_bits=4,seed=1.safetensors"));
}

TEST_F(RunSweepTest, ASeedThatNoStepUsesChangesNothing) {
  RunResult run;
  int64_t train_reads = 0, test_reads = 0;
  const std::string text = absl::StrCat(TrainedModel(), "steps { fold { check_images: 0 } } steps { evaluate {} }");
  ASSERT_TRUE(RunCounting(absl::StrCat(text, kSeeds), &run, &train_reads, &test_reads).ok());
  EXPECT_THAT(StepsOf(run.report), ElementsAre("fold", "evaluate"));
  EXPECT_EQ(train_reads, 0);
}

TEST_F(RunSweepTest, VariantsThatComeToTheSameAreDoneOnceAndReportedUnderBothNames) {
  const std::string policies = R"(
    sweep {
      column: "policy"
      cases { name: "8 bits" set { fields: "steps[3].quantize.rules[0].weights.quantizer.bits" value: "8" } }
      cases { name: "as it is" }
    })";
  const auto run = Run(absl::StrCat(TrainedModel(), kFloat, kQuantize, policies, "table { rows: \"policy\" }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(StepsOf(run->report), ElementsAre("evaluate", "fold", "calibrate", "quantize 8 bits", "evaluate 8 bits"));
  EXPECT_THAT(Labels(run->report), ElementsAre("float", "8 bits", "as it is"));
  EXPECT_EQ(run->report.rows[2].same_as, "8 bits");
  EXPECT_EQ(run->report.rows[2].result.metrics.top1, run->report.rows[1].result.metrics.top1);
  EXPECT_EQ(Bytes(run->folder, "model_policy=as_it_is.safetensors"),
            Bytes(run->folder, "model_policy=8_bits.safetensors"));
  const auto json = nlohmann::json::parse(Bytes(run->folder, "report.json"));
  EXPECT_EQ(json["evaluations"][2]["same_as"], "8 bits");
  EXPECT_FALSE(json["evaluations"][1].contains("same_as"));
  for (int row = 0; row < 2; ++row) EXPECT_EQ(json["table"]["pages"][0]["rows"][row]["cells"][0]["done"], 1);
}

// Both policies are one, and the last sweep makes no difference before that is evaluated.
TEST_F(RunSweepTest, ARowIsReportedOnceUnderEachName) {
  const auto run = Run(absl::StrCat(TrainedModel(), kQuantize, R"(
    steps { evaluate { name: "again" } }
    sweep {
      column: "policy"
      cases { name: "8 bits" set { fields: "steps[2].quantize.rules[0].weights.quantizer.bits" value: "8" } }
      cases { name: "as it is" }
    }
    sweep { column: "images" fields: "steps[4].evaluate.max_images" values: ["10", "20"] })"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(Labels(run->report),
              UnorderedElementsAre("policy=8 bits", "policy=as it is", "policy=8 bits,images=10 again",
                                   "policy=8 bits,images=20 again", "policy=as it is,images=10 again",
                                   "policy=as it is,images=20 again"));
}

// What stands at a place may come from the sweep alone.
TEST_F(RunSweepTest, StepsThatOnlyTheSweepNames) {
  const std::string text = absl::StrCat(TrainedModel(), R"(
    steps {}
    steps {}
    sweep {
      column: "what"
      cases {
        name: "summary"
        set { fields: "steps[0].summary" value: "{}" }
        set { fields: "steps[1].evaluate" value: "{}" }
      }
      cases {
        name: "fold"
        set { fields: "steps[0].fold" value: "{ check_images: 0 }" }
        set { fields: "steps[1].evaluate" value: "{}" }
      }
    }
    table { rows: "what" })");
  const auto plan = Plan(text);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(PlanText(*plan), HasSubstr("steps   fold / summary, evaluate\n"));
  const auto run = Run(text);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(StepsOf(run->report), ElementsAre("summary summary", "evaluate summary", "fold fold", "evaluate fold"));
}

TEST_F(RunSweepTest, AModelThatSeveralVariantsEvaluateIsSavedOnce) {
  const auto run = Run(
      absl::StrCat(TrainedModel(), kQuantize,
                   "sweep { column: \"images\" fields: \"steps[3].evaluate.max_images\" values: [\"10\", \"20\"] }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(Labels(run->report), ElementsAre("10", "20"));
  EXPECT_THAT(FilesIn(run->folder),
              UnorderedElementsAre("config.textproto", "report.json", "report.md", "tensorboard", "model.safetensors"));
  EXPECT_EQ(run->report.models.size(), 1u);
}

TEST_F(RunSweepTest, AModelThatOneVariantCorrectsIsSavedAsItWasToo) {
  std::string start = absl::StrCat(TrainedModel(), kQuantize);
  start.replace(start.find("steps { evaluate {} }"), 21,
                "steps { bias_correction { num_images: 32 } } steps { evaluate {} }");
  const auto run = Run(absl::StrCat(start, R"(
    sweep {
      column: "method"
      cases {
        name: "corrected"
        set { fields: "steps[2].quantize.rules[0].weights.quantizer.bits" value: "3" }
      }
      cases {
        name: "plain"
        set { fields: "steps[2].quantize.rules[0].weights.quantizer.bits" value: "3" }
        set { fields: "steps[3].skip" value: "true" }
      }
    })"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(StepsOf(run->report), ElementsAre("fold", "calibrate", "quantize corrected", "bias_correction corrected",
                                                "evaluate corrected", "evaluate plain"));
  EXPECT_EQ(run->report.models.size(), 2u);
  // As runs of their own make them.
  start.replace(start.find("bits: 8"), 7, "bits: 3");
  const auto corrected = Run(start);
  start.replace(start.find("{ bias_correction { num_images: 32 } }"), 38,
                "{ bias_correction { num_images: 32 } skip: true }");
  const auto plain = Run(start);
  ASSERT_TRUE(corrected.ok() && plain.ok());
  const std::string model = Bytes(run->folder, "model_method=corrected.safetensors");
  EXPECT_EQ(model, Bytes(corrected->folder, "model.safetensors"));
  EXPECT_EQ(Bytes(run->folder, "model_method=plain.safetensors"), Bytes(plain->folder, "model.safetensors"));
  EXPECT_NE(model, Bytes(plain->folder, "model.safetensors"));
}

TEST_F(RunSweepTest, StepsAreSkipped) {
  const std::string start = absl::StrCat(TrainedModel(), kFloat, kQuantize);
  const std::string sweep = R"(
    sweep {
      column: "fold"
      cases { name: "yes" }
      cases { name: "no" set { fields: "steps[1].skip" value: "true" } }
    }
    steps { summary {} skip: true }
  )";
  const auto plan = Plan(absl::StrCat(start, sweep));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(PlanText(*plan),
              HasSubstr("steps   evaluate, fold (skipped by some), calibrate, quantize, evaluate, summary (skipped)\n"
                        "sweep   fold = yes, no; the first 1 step is done once for all\n"));
  RunResult run;
  ASSERT_TRUE(ExecuteRun(*plan, &run).ok());
  EXPECT_THAT(StepsOf(run.report), ElementsAre("evaluate", "fold yes", "calibrate yes", "quantize yes", "evaluate yes",
                                               "calibrate no", "quantize no", "evaluate no"));
  // As if it were not there.
  std::string without(start);
  without.replace(without.find("steps { fold { check_images: 32 } }"), 35, "");
  const auto alone = Run(without);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(Bytes(run.folder, "model_fold=no.safetensors"), Bytes(alone->folder, "model.safetensors"));
  EXPECT_NE(Bytes(run.folder, "model_fold=yes.safetensors"), Bytes(alone->folder, "model.safetensors"));
}

TEST_F(RunSweepTest, ASkippedStepIsNotLookedAt) {
  const auto run = Run(
      absl::StrCat(TrainedModel(),
                   "steps { quantize {} skip: true } steps { evaluate { max_images: 1000000 } skip: true } ", kFloat));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(StepsOf(run->report), ElementsAre("evaluate"));
}

TEST_F(RunSweepTest, PackedModelsNeedNotBeSaved) {
  const auto run =
      Run(absl::StrCat("save_models: false tensorboard: false ", TrainedModel(), kFloat, kQuantize, kBits));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->report.rows.size(), 3u);
  EXPECT_THAT(FilesIn(run->folder), UnorderedElementsAre("config.textproto", "report.json", "report.md"));
  EXPECT_TRUE(run->report.models.empty());
}

TEST_F(RunSweepTest, AModelIsLoadedOnceUnlessItIsSwept) {
  const std::string model = TrainedModel();
  const auto one = Plan(absl::StrCat(model, kFloat, kQuantize, kBits, kSeeds));
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->starts.size(), 1u);
  EXPECT_EQ(one->variants.size(), 4u);
  EXPECT_EQ(one->steps.size(), 13u);
  // Random parameters are drawn by the seed.
  const auto random = Plan(absl::StrCat(kTrain, kSeeds));
  ASSERT_TRUE(random.ok()) << random.status();
  EXPECT_EQ(random->starts.size(), 2u);
  const auto swept = Run(absl::StrCat(model, kFloat, R"(
    sweep { column: "padding" fields: "model.basic_block_resnet.stem_padding" values: ["1", "1 "] })"));
  ASSERT_TRUE(swept.ok()) << swept.status();
  EXPECT_THAT(Labels(swept->report), ElementsAre("1 float", "1  float"));
}

TEST_F(RunSweepTest, TheTableIsWrittenAndReported) {
  const auto run = Run(absl::StrCat(TrainedModel(), kFloat, kQuantize, kBits, kSeeds, kTable));
  ASSERT_TRUE(run.ok()) << run.status();
  std::map<std::string, double> top1;
  for (const EvaluationRow& row : run->report.rows) top1[row.label()] = row.result.metrics.top1;
  const PivotTable& table = run->report.table;
  ASSERT_EQ(table.pages.size(), 1u);
  const PivotCell& cell = table.pages[0].rows[1].cells[0];
  EXPECT_EQ(cell.done, 2);
  EXPECT_DOUBLE_EQ(cell.mean, (top1["bits=4,seed=1"] + top1["bits=4,seed=2"]) / 2);
  EXPECT_EQ(cell.largest, std::max(top1["bits=4,seed=1"], top1["bits=4,seed=2"]));
  EXPECT_THAT(table.baselines, ElementsAre(std::make_pair("float", top1["float"])));
  EXPECT_EQ(table.images, 40);
  EXPECT_EQ(Bytes(run->folder, "table.md"), PivotMarkdown(table));
  EXPECT_THAT(Bytes(run->folder, "report.md"), HasSubstr(PivotMarkdown(table)));

  // The work of a variant: all of its steps but evaluations.
  std::map<std::string, double> seconds;
  for (size_t i = 0; i < run->report.steps.size(); ++i) {
    seconds[StepsOf(run->report)[i]] = run->report.steps[i]["seconds"];
  }
  double most = 0;
  for (const char* seed : {"1", "2"}) {
    most = std::max(most, seconds[absl::StrCat("fold seed=", seed)] + seconds[absl::StrCat("calibrate seed=", seed)] +
                              seconds[absl::StrCat("quantize bits=4,seed=", seed)]);
  }
  EXPECT_DOUBLE_EQ(table.pages[0].rows[1].seconds, most);
}

TEST_F(RunSweepTest, TheTableOfAnInterruptedRunTellsWhatIsMissing) {
  const std::string text = absl::StrCat(TrainedModel(), kFloat, kQuantize, kBits, kSeeds, kTable);
  RunResult run;
  int64_t train_reads = 0, test_reads = 0;
  // When the test images are read for the fourth time: bits=4,seed=1 is not evaluated to its end, nothing of seed 2.
  const absl::Status status = RunCounting(text, &run, &train_reads, &test_reads, [](int64_t reads) {
    if (reads == 2 * 40 + 1) RequestInterruptForTest();
  });
  ClearInterrupt();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_THAT(Labels(run.report), ElementsAre("float", "bits=2,seed=1"));
  const std::string table = Bytes(run.folder, "table.md");
  EXPECT_THAT(table, HasSubstr(" [1/2] |"));
  EXPECT_THAT(table, testing::ContainsRegex("\\| 4 +\\| +\\[0/2\\] \\|"));
  EXPECT_THAT(FilesIn(run.folder), Contains("model_bits=4,seed=1.safetensors"));
}

TEST_F(RunSweepTest, TrainingsOfTwoSweepsAreResumedWhereTheyStopped) {
  const std::string text =
      absl::StrCat(kTrain, "steps { evaluate {} } ", kSeeds,
                   "sweep { column: \"rate\" fields: \"steps[0].train.learning_rate\" values: [\"0.05\", \"0.01\"] }",
                   "sweep { column: \"images\" fields: \"steps[1].evaluate.max_images\" values: [\"10\", \"20\"] }");
  const auto run = Run(text);
  ASSERT_TRUE(run.ok()) << run.status();
  // One training for both numbers of images.
  EXPECT_THAT(StepsOf(run->report), IsSupersetOf({"train seed=1,rate=0.05", "evaluate seed=1,rate=0.05,images=10"}));
  EXPECT_EQ(run->report.steps.size(), 4u + 8u);
  const std::string last = Bytes(run->folder, "seed=2,rate=0.01/best.safetensors");
  EXPECT_NE(last, Bytes(run->folder, "seed=1,rate=0.01/best.safetensors"));
  // As if it had been killed during the last training.
  fs::remove_all(JoinPath(run->folder, "seed=2,rate=0.01"));
  const auto resumed = Run(text, /*resume=*/true);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->folder, run->folder);
  EXPECT_EQ(Bytes(resumed->folder, "seed=2,rate=0.01/best.safetensors"), last);
  // A checkpoint of another training is refused before anything is run.
  std::string other(text);
  other.replace(other.find("0.01"), 4, "0.02");
  fs::rename(JoinPath(run->folder, "seed=2,rate=0.01"), JoinPath(run->folder, "seed=2,rate=0.02"));
  EXPECT_THAT(std::string(Plan(other, /*resume=*/true).status().message()), HasSubstr("made by another training"));
}

TEST_F(RunSweepTest, ThePlanNamesWhatIsSharedAndPrintsEqualLayersOnce) {
  const auto plan =
      Plan(absl::StrCat(TrainedModel(), kFloat, kQuantize, kBits, kSeeds,
                        "except { when { column: \"bits\" values: \"2\" } when { column: \"seed\" values: "
                        "\"2\" } }"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::string text = PlanText(*plan);
  EXPECT_THAT(text,
              HasSubstr("sweep   bits = 2, 4\nsweep   seed = 1, 2\n        3 variants, 1 combinations left out; the "
                        "first 1 step is done once for all; 11 steps in all instead of 15\n"));
  EXPECT_THAT(text, HasSubstr("\n\nbits=4,seed=1\nbits=4,seed=2\nlayer "));
  EXPECT_THAT(text, Not(HasSubstr("bits=2,seed=2")));
}

}  // namespace
}  // namespace lowbit
