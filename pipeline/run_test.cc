#include "pipeline/run.h"

#include <ATen/ops/equal.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "artifact/safetensors.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "base/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/parameters.h"
#include "model/resnet.h"
#include "nlohmann/json.hpp"
#include "pipeline/paths.h"
#include "pipeline/run_fixture.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using testing::UnorderedElementsAre;

TEST_F(RunTest, LeavesConfigReportModelAndWhatTrainingWrote) {
  const auto run = Run(absl::StrCat(kTrain, kQuantize));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(FilesIn(run->folder),
              UnorderedElementsAre("config.textproto", "report.json", "report.md", "model.safetensors",
                                   "best.safetensors", "checkpoint.safetensors", "history.tsv", "tensorboard"));
  EXPECT_THAT(fs::path(run->folder).filename().string(), testing::MatchesRegex("tiny-[0-9]{8}-[0-9]{6}"));
  ASSERT_EQ(run->report.rows.size(), 1u);
  EXPECT_EQ(run->report.rows[0].result.metrics.images, 40);
  EXPECT_EQ(run->report.rows[0].label(), "quantized");

  const auto json = nlohmann::json::parse(Bytes(run->folder, "report.json"));
  std::vector<std::string> steps;
  for (const auto& step : json["steps"]) steps.push_back(step["step"]);
  EXPECT_THAT(steps, ElementsAre("train", "fold", "calibrate", "quantize", "evaluate"));
  EXPECT_EQ(json["steps"][1]["folded"], 3);
  EXPECT_LT(json["steps"][1]["max_logit_difference"], 1e-3);
  EXPECT_EQ(json["steps"][2]["images"], 32);
  EXPECT_EQ(json["models"][0]["file"], "model.safetensors");
  EXPECT_THAT(Bytes(run->folder, "model.safetensors"), HasSubstr(R"("lowbit.mean":"0.4914,0.4822,0.4465")"));
}

TEST_F(RunTest, TheEffectiveConfigGivesTheSameModelAgain) {
  const auto first = Run(absl::StrCat(TrainedModel(), kQuantize));
  ASSERT_TRUE(first.ok()) << first.status();
  const auto again = Run(Bytes(first->folder, "config.textproto"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_NE(again->folder, first->folder);
  EXPECT_EQ(Bytes(again->folder, "model.safetensors"), Bytes(first->folder, "model.safetensors"));
  EXPECT_EQ(Bytes(again->folder, "config.textproto"), Bytes(first->folder, "config.textproto"));
}

TEST_F(RunTest, AnotherSeedCalibratesOnOtherImages) {
  const std::string model = TrainedModel();
  const auto first = Run(absl::StrCat(model, kQuantize));
  const auto other = Run(absl::StrCat("seed: 2\n", model, kQuantize));
  ASSERT_TRUE(first.ok() && other.ok());
  EXPECT_NE(Bytes(other->folder, "model.safetensors"), Bytes(first->folder, "model.safetensors"));
}

TEST_F(RunTest, ASweepSharesTheStepsBeforeAndLooksAtTheDataOnce) {
  const std::string shared = absl::StrCat(TrainedModel(), "steps { evaluate { name: \"float\" } }", kQuantize);
  const auto run = Run(absl::StrCat(shared, kSweep));
  ASSERT_TRUE(run.ok()) << run.status();
  std::vector<std::string> steps, rows;
  for (const auto& step : run->report.steps)
    steps.push_back(absl::StrCat(std::string(step["step"]), std::string(step["variant"])));
  EXPECT_THAT(steps, ElementsAre("evaluate", "fold", "calibrate", "quantize2", "evaluate2", "quantize4", "evaluate4",
                                 "quantize8", "evaluate8"));
  for (const EvaluationRow& row : run->report.rows) rows.push_back(row.label());
  EXPECT_THAT(rows, ElementsAre("float", "2", "4", "8"));
  EXPECT_THAT(FilesIn(run->folder), testing::IsSupersetOf({"model_bits=2.safetensors", "model_bits=4.safetensors"}));
  // What a sweep makes of a value is what a run of its own makes of it.
  const auto alone = Run(shared);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(Bytes(run->folder, "model_bits=8.safetensors"), Bytes(alone->folder, "model.safetensors"));
}

TEST_F(RunTest, TheNewestPackedModelIsEvaluatedWhereNoneIsNamed) {
  EXPECT_THAT(std::string(Plan("steps { evaluate {} }").status().message()), HasSubstr("names no model"));
  const auto packed = Run(absl::StrCat(TrainedModel(), kQuantize));
  ASSERT_TRUE(packed.ok()) << packed.status();
  const auto evaluated = Run("steps { evaluate {} }");
  ASSERT_TRUE(evaluated.ok()) << evaluated.status();
  EXPECT_EQ(evaluated->report.rows[0].result.metrics.top1, packed->report.rows[0].result.metrics.top1);
  EXPECT_EQ(evaluated->report.rows[0].weight_bytes, packed->report.rows[0].weight_bytes);
  // The effective config says which one it was.
  EXPECT_THAT(Bytes(evaluated->folder, "config.textproto"), HasSubstr(JoinPath(packed->folder, "model.safetensors")));
}

constexpr char kTorchInt8[] = R"(
  steps { evaluate {} }
  steps { fold { check_images: 32 } }
  steps { calibrate { num_images: 64 } }
  steps { torch_int8 {} }
  steps { evaluate { engine: TORCH_INT8 } }
)";

TEST_F(RunTest, LibTorchsInt8ModelIsEvaluatedSavedAndLoadedAgain) {
  const auto run = Run(absl::StrCat(TrainedModel(), kTorchInt8));
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->report.rows.size(), 2u);
  const EvaluationRow& int8 = run->report.rows[1];
  EXPECT_EQ(int8.label(), "LibTorch int8");
  EXPECT_TRUE(int8.quantized);
  // Weights of 3x3 from 3 to 4 channels and twice from 4 to 4, and from 64 features to 4 classes; a scale for each of
  // 16 channels.
  EXPECT_EQ(int8.weight_bytes, 4 * 27 + 2 * 4 * 36 + 4 * 64 + 4 * 16);
  EXPECT_NEAR(int8.result.metrics.top1, run->report.rows[0].result.metrics.top1, 0.051);
  EXPECT_EQ(run->report.steps[3]["file"], JoinPath(run->folder, "int8.pt"));

  const auto validated = Run("model { newest: INT8 } steps { evaluate { engine: TORCH_INT8 } }");
  ASSERT_TRUE(validated.ok()) << validated.status();
  EXPECT_EQ(validated->report.rows[0].result.metrics.top1, int8.result.metrics.top1);
  EXPECT_EQ(validated->report.rows[0].weight_bytes, int8.weight_bytes);
  EXPECT_THAT(Bytes(validated->folder, "config.textproto"),
              AllOf(HasSubstr("torch_int8_model: \"" + JoinPath(run->folder, "int8.pt")), HasSubstr("newest: NONE")));
  // It has no float parameters for other steps to work on.
  EXPECT_THAT(std::string(Plan("model { newest: INT8 } steps { evaluate {} }").status().message()),
              HasSubstr("needs weights"));
}

TEST_F(RunTest, LibTorchsEnginesAreNamedWhereItHasNotTheWantedOne) {
  const std::string message(Plan(absl::StrCat(TrainedModel(), R"(
    steps { fold { check_images: 32 } }
    steps { calibrate { num_images: 64 } }
    steps { torch_int8 { engine: "tensorrt" } }
  )"))
                                .status()
                                .message());
  EXPECT_THAT(message, HasSubstr("steps[2].torch_int8.engine: this LibTorch has "));
  for (const std::string& engine : TorchInt8Engines()) EXPECT_THAT(message, HasSubstr(engine));
  EXPECT_THAT(message, testing::EndsWith(", got \"tensorrt\""));
}

TEST_F(RunTest, TheIntegerEngineAnswersAsTheFakeQuantizedNetwork) {
  const auto run = Run(absl::StrCat(TrainedModel(), kQuantize, R"(
    steps { evaluate { engine: INTEGER } }
    steps { benchmark { batch_size: 8 batches: 2 single_images: 3 } })"));
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->report.rows.size(), 2u);
  EXPECT_EQ(run->report.rows[1].label(), "integer");
  EXPECT_EQ(run->report.rows[1].result.metrics.top1, run->report.rows[0].result.metrics.top1);
  EXPECT_EQ(run->report.rows[1].weight_bytes, run->report.rows[0].weight_bytes);

  const auto& engines = run->report.steps.back()["engines"];
  ASSERT_EQ(engines.size(), 3u);
  EXPECT_EQ(engines[0]["engine"], "float");
  EXPECT_EQ(engines[1]["engine"], "fake-quantized");
  EXPECT_EQ(engines[1]["same_top1"], 1.0);
  EXPECT_EQ(engines[2]["engine"], "integer");
  EXPECT_EQ(engines[2]["same_top1"], 1.0);
  EXPECT_EQ(engines[2]["accuracy"], run->report.rows[1].result.metrics.top1);
  EXPECT_LE(engines[2]["latency_ms_p50"], engines[2]["latency_ms_p99"]);
  EXPECT_GT(engines[2]["images_per_second"], 0.0);
}

TEST_F(RunTest, TheIntegerEngineWantsAQuantizedNetworkAndTheBenchmarkItsImages) {
  const std::string model = TrainedModel();
  EXPECT_THAT(std::string(Plan(absl::StrCat(model, "steps { evaluate { engine: INTEGER } }")).status().message()),
              HasSubstr("steps[0].evaluate"));
  EXPECT_THAT(std::string(Plan(absl::StrCat(model, "steps { benchmark { batch_size: 41 } }")).status().message()),
              HasSubstr("steps[0].benchmark.batch_size: there are 40 test images, got 41"));
  EXPECT_THAT(std::string(Plan(absl::StrCat(model, "steps { benchmark { batches: 0 } }")).status().message()),
              HasSubstr("steps[0].benchmark.batches: must be at least 1, got 0"));
}

TEST_F(RunTest, TheNewestWeightsAreThoseOfTheLastTraining) {
  const char kNewest[] =
      "model { basic_block_resnet { blocks: [1] widths: [4] stem_padding: 1 final_pool: 8 num_classes: 4 } "
      "newest: WEIGHTS } steps { evaluate {} }";
  EXPECT_THAT(std::string(Plan(kNewest).status().message()),
              HasSubstr("model.newest: no run has left a safetensors file with the parameters of this network in "));
  const auto trained = Run(kTrain);
  ASSERT_TRUE(trained.ok()) << trained.status();
  // What another network left later, and what is broken, is passed over.
  const std::string later = JoinPath(output_dir_, "other-20990101-000000");
  ASSERT_TRUE(MakeDirs(later).ok());
  BasicBlockResnetOptions wide;
  ASSERT_TRUE(
      SaveParameters(JoinPath(later, "best.safetensors"), InitParameters(*BuildBasicBlockResnet(wide), 1)).ok());
  ASSERT_TRUE(WriteFileAtomic(JoinPath(later, "broken.safetensors"), "x").ok());
  const auto validated = Run(kNewest);
  ASSERT_TRUE(validated.ok()) << validated.status();
  EXPECT_THAT(Bytes(validated->folder, "config.textproto"), HasSubstr(JoinPath(trained->folder, "best.safetensors")));
}

TEST_F(RunTest, ASweepReadsTheCalibrationImagesOnce) {
  auto config =
      Config::Parse(absl::StrCat(TrainedModel(), "steps { evaluate {} }", kQuantize, kSweep), "configs/tiny.textproto");
  ASSERT_TRUE(config.ok() && config->Set("output_dir", output_dir_, "test").ok());
  std::atomic<int64_t> reads{0};
  PlanOptions options;
  options.open_data = [&](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
    auto images = OpenSynthetic(split);
    if (split == Split::kTest) return images;
    return std::make_unique<Counting>(*std::move(images), [&](int64_t) { ++reads; });
  };
  const auto plan = PlanRun(*config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunResult result;
  ASSERT_TRUE(ExecuteRun(*plan, &result).ok());
  EXPECT_EQ(result.report.rows.size(), 4u);
  EXPECT_EQ(reads, 32 + 32);  // the fold step's comparison, and one pass for three widths
}

TEST_F(RunTest, WhatWasDoneBeforeAnInterruptIsKept) {
  const std::string text = absl::StrCat(TrainedModel(), "steps { evaluate { name: \"float\" } }", kQuantize, kSweep);
  auto config = Config::Parse(text, "configs/tiny.textproto");
  ASSERT_TRUE(config.ok() && config->Set("output_dir", output_dir_, "test").ok());
  PlanOptions options;
  options.open_data = [](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
    auto images = OpenSynthetic(split);
    if (split == Split::kTrain) return images;
    const int64_t size = (*images)->size();
    // When the test images are read for the third time.
    return std::make_unique<Counting>(*std::move(images), [size](int64_t reads) {
      if (reads == 2 * size + 1) RequestInterruptForTest();
    });
  };
  const auto plan = PlanRun(*config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunResult result;
  const absl::Status status = ExecuteRun(*plan, &result);
  ClearInterrupt();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(result.report.rows.size(), 2u);  // float and two bits
  EXPECT_THAT(FilesIn(result.folder),
              UnorderedElementsAre("config.textproto", "report.json", "report.md", "model_bits=2.safetensors",
                                   "model_bits=4.safetensors", "tensorboard"));
  const auto json = nlohmann::json::parse(Bytes(result.folder, "report.json"));
  EXPECT_EQ(json["status"], "interrupted");
  EXPECT_EQ(json["evaluations"].size(), 2u);
}

TEST_F(RunTest, AFinishedTrainingThatIsResumedGivesTheSameWeights) {
  const auto first = Run(kTrain);
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string weights = Bytes(first->folder, "best.safetensors");
  const auto resumed = Run(kTrain, /*resume=*/true);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->folder, first->folder);
  EXPECT_EQ(Bytes(resumed->folder, "best.safetensors"), weights);
}

TEST_F(RunTest, ResumingNeedsATrainStepAndACheckpoint) {
  EXPECT_EQ(std::string(Plan(kTrain, /*resume=*/true).status().message()),
            absl::StrCat("--resume: no ", output_dir_, "/tiny-* has a checkpoint to go on from"));
  const std::string model = TrainedModel();
  EXPECT_EQ(std::string(Plan(absl::StrCat(model, kQuantize), /*resume=*/true).status().message()),
            "--resume: tiny has no train, reconstruct or distill step");
}

TEST_F(RunTest, WhatCannotBeResumedIsRefusedBeforeAnythingIsWritten) {
  const auto run = Run(kTrain);
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string config = Bytes(run->folder, "config.textproto");
  std::string other(kTrain);
  other.replace(other.find("0.05"), 4, "0.06");
  EXPECT_THAT(std::string(Plan(other, /*resume=*/true).status().message()),
              AllOf(HasSubstr("configs/tiny.textproto:3:11: steps[0].train: "), HasSubstr("made by another training")));
  EXPECT_EQ(Bytes(run->folder, "config.textproto"), config);
}

TEST_F(RunTest, ASweepOfTrainingsIsResumedWhereItStopped) {
  const std::string sweep =
      "sweep { column: \"rate\" fields: \"steps[0].train.learning_rate\" values: [\"0.05\", \"0.01\"] }";
  const auto run = Run(absl::StrCat(kTrain, sweep));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string second = Bytes(run->folder, "rate=0.01/best.safetensors");
  // As if it had been killed during the second training.
  fs::remove_all(JoinPath(run->folder, "rate=0.01"));
  const auto resumed = Run(absl::StrCat(kTrain, sweep), /*resume=*/true);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->folder, run->folder);
  EXPECT_EQ(Bytes(resumed->folder, "rate=0.01/best.safetensors"), second);
}

TEST_F(RunTest, ARunThatIsStillGoingOnIsNotResumed) {
  const auto run = Run(kTrain);
  ASSERT_TRUE(run.ok()) << run.status();
  const auto other = FolderLock::Acquire(run->folder);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(Run(kTrain, /*resume=*/true).status(),
            absl::FailedPreconditionError(absl::StrCat("\"", run->folder, "\" is in use by another process")));
}

TEST_F(RunTest, SavedParametersAreReadBackFromBothKindsOfFile) {
  const std::string model = TrainedModel();
  const auto saved = Run(absl::StrCat(model,
                                      "steps { save { file: \"w.pt\" } } steps { save { file: \"w.safetensors\" } } "
                                      "steps { evaluate {} }"));
  ASSERT_TRUE(saved.ok()) << saved.status();
  for (const char* file : {"w.pt", "w.safetensors"}) {
    const auto plan =
        Plan(absl::StrCat("model { basic_block_resnet { blocks: [1] widths: [4] stem_padding: 1 final_pool: 8 "
                          "num_classes: 4 } weights: \"",
                          saved->folder, "/", file, "\" } ", kQuantize));
    ASSERT_TRUE(plan.ok()) << plan.status();
    RunResult result;
    ASSERT_TRUE(ExecuteRun(*plan, &result).ok());
    const auto direct = Run(absl::StrCat(model, kQuantize));
    ASSERT_TRUE(direct.ok());
    EXPECT_EQ(Bytes(result.folder, "model.safetensors"), Bytes(direct->folder, "model.safetensors")) << file;
  }
}

TEST_F(RunTest, ParametersAreSavedInHalfPrecision) {
  const auto saved = Run(absl::StrCat(TrainedModel(),
                                      "steps { save { file: \"half.safetensors\" dtype: FLOAT16 } } "
                                      "steps { save { file: \"brain.pt\" dtype: BFLOAT16 } } "
                                      "steps { save {} }"));
  ASSERT_TRUE(saved.ok()) << saved.status();
  const auto exact = ReadParameterFile(JoinPath(saved->folder, "weights.safetensors"));
  const auto half = ReadParameterFile(JoinPath(saved->folder, "half.safetensors"));
  const auto brain = ReadParameterFile(JoinPath(saved->folder, "brain.pt"));
  ASSERT_TRUE(exact.ok() && half.ok() && brain.ok());
  EXPECT_EQ(ReadSafetensors(JoinPath(saved->folder, "half.safetensors"))->tensors.at("conv1.weight").dtype,
            DType::kF16);
  for (const auto& [name, value] : exact->parameters) {
    EXPECT_TRUE(half->parameters.at(name).equal(value.to(at::kHalf).to(at::kFloat))) << name;
    EXPECT_TRUE(brain->parameters.at(name).equal(value.to(at::kBFloat16).to(at::kFloat))) << name;
  }
}

TEST_F(RunTest, WeightsThatAreNotANumberAreNamed) {
  const auto trained = Run(kTrain);
  ASSERT_TRUE(trained.ok()) << trained.status();
  const std::string path = JoinPath(trained->folder, "best.safetensors");
  auto file = ReadSafetensors(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(&file->tensors.at("conv1.weight").bytes[8], &nan, sizeof(nan));
  ASSERT_TRUE(WriteSafetensors(path, *file).ok());
  const std::string model = absl::StrCat(
      "model { basic_block_resnet { blocks: [1] widths: [4] stem_padding: 1 final_pool: 8 "
      "num_classes: 4 }\nweights: \"",
      path, "\" } ");
  EXPECT_THAT(std::string(Plan(absl::StrCat(model, kQuantize)).status().message()),
              AllOf(StartsWith(absl::StrCat("configs/tiny.textproto:2:1: model.weights: ", path, ": ")),
                    HasSubstr("parameter conv1.weight has 1 NaN or infinite values of 108")));
}

TEST_F(RunTest, NamesThatAreNotUtf8DoNotLoseTheReport) {
  const auto run = Run(absl::StrCat(TrainedModel(), "steps { evaluate { name: \"\\377\" } }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(nlohmann::json::parse(Bytes(run->folder, "report.json"))["evaluations"][0]["images"], 40);
}

// ---- TensorBoard ----

TEST_F(RunTest, AnOutputFolderThatCannotBeMadeIsNamed) {
  const std::string file = JoinPath(output_dir_, "file");
  ASSERT_TRUE(WriteFileAtomic(file, "a file").ok());
  auto config = Config::Parse(kTrain, "configs/tiny.textproto");
  ASSERT_TRUE(config.ok() && config->Set("output_dir", JoinPath(file, "out"), "--output_dir=...").ok());
  PlanOptions options;
  options.open_data = &OpenSynthetic;
  EXPECT_EQ(std::string(PlanRun(*config, options).status().message()),
            absl::StrCat("--output_dir=...: \"", file, "\" is not a folder"));
}

}  // namespace
}  // namespace lowbit
