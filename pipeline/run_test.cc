#include "pipeline/run.h"

#include <ATen/ops/equal.h>
#include <stb/stb_image.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
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
#include "data/in_memory_dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/parameters.h"
#include "model/resnet.h"
#include "nlohmann/json.hpp"
#include "pipeline/paths.h"
#include "tensorboard/event.pb.h"
#include "tensorboard/record.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using testing::UnorderedElementsAre;

// Trains a network of one block, so that all steps have something to work on.
constexpr char kTrain[] = R"(
  model { basic_block_resnet { blocks: [1] widths: [4] stem_padding: 1 final_pool: 8 num_classes: 4 } }
  steps { train { epochs: 1 batch_size: 16 validation_images: 16 learning_rate: 0.05 } }
)";
constexpr char kQuantize[] = R"(
  steps { fold { check_images: 32 } }
  steps { calibrate { num_images: 32 batch_size: 16 } }
  steps {
    quantize {
      rules {
        weights { quantizer { name: "per_channel" bits: 8 } }
        activations { quantizer { name: "per_channel" bits: 8 } }
      }
    }
  }
  steps { evaluate {} }
)";
constexpr char kSweep[] = R"(
  sweep {
    column: "bits"
    fields: "steps[3].quantize.rules[0].weights.quantizer.bits"
    fields: "steps[3].quantize.rules[0].activations.quantizer.bits"
    values: ["2", "4", "8"]
  }
)";

absl::StatusOr<std::unique_ptr<Dataset>> OpenSynthetic(Split split) {
  SyntheticOptions options;
  options.size = split == Split::kTrain ? 80 : 40;
  options.num_classes = 4;
  return absl::StatusOr<std::unique_ptr<Dataset>>(MakeSyntheticDataset(options));
}

class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto folder = CreateUniqueDir(JoinPath(testing::TempDir(), "run_test"));
    ASSERT_TRUE(folder.ok());
    output_dir_ = *folder;
  }

  absl::StatusOr<RunPlan> Plan(const std::string& text, bool resume = false) const {
    auto config = Config::Parse(text, "configs/tiny.textproto");
    EXPECT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(config->Set("output_dir", output_dir_, "test").ok());
    PlanOptions options;
    options.resume = resume;
    options.open_data = &OpenSynthetic;
    return PlanRun(*config, options);
  }

  absl::StatusOr<RunResult> Run(const std::string& text, bool resume = false) const {
    const auto plan = Plan(text, resume);
    EXPECT_TRUE(plan.ok()) << plan.status();
    RunResult result;
    const absl::Status status = ExecuteRun(*plan, &result);
    if (!status.ok()) return status;
    return result;
  }

  // The weights of a trained network, as a line of a config.
  std::string TrainedModel() const {
    const auto trained = Run(kTrain);
    EXPECT_TRUE(trained.ok()) << trained.status();
    return absl::StrCat(
        "model { basic_block_resnet { blocks: [1] widths: [4] stem_padding: 1 final_pool: 8 num_classes: 4 } "
        "weights: \"",
        trained->folder, "/best.safetensors\" }\n");
  }

  static std::vector<std::string> FilesIn(const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
    return names;
  }

  // What TensorBoard would find in a folder, file after file: "0 train/loss", "1 weights/conv1", with the step;
  // "restart 3" and "file".
  static std::vector<std::string> Events(const std::string& folder) {
    std::vector<std::string> files, events;
    for (const std::string& name : FilesIn(folder)) {
      if (fs::is_regular_file(JoinPath(folder, name))) files.push_back(name);
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) {
      EXPECT_THAT(file, StartsWith("events.out.tfevents."));
      const auto records = ParseRecords(Bytes(folder, file.c_str()));
      EXPECT_TRUE(records.ok()) << records.status();
      for (const std::string& record : records.value()) {
        TensorBoardEvent event;
        EXPECT_TRUE(event.ParseFromString(record));
        if (event.file_version() == "brain.Event:2") events.push_back("file");
        if (event.has_session_log()) events.push_back(absl::StrCat("restart ", event.step()));
        for (const auto& value : event.summary().value()) {
          events.push_back(absl::StrCat(event.step(), " ", value.tag()));
        }
      }
    }
    return events;
  }

  // The size of a PNG file that a decoder takes.
  static std::pair<int, int> PngSize(const std::string& png) {
    int width = 0, height = 0, channels = 0;
    unsigned char* pixels = stbi_load_from_memory(reinterpret_cast<const unsigned char*>(png.data()),
                                                  static_cast<int>(png.size()), &width, &height, &channels, 0);
    EXPECT_NE(pixels, nullptr);
    stbi_image_free(pixels);
    return {width, height};
  }

  static std::string Bytes(const std::string& folder, const char* file) {
    const auto bytes = ReadFile(JoinPath(folder, file));
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.value_or("");
  }

  std::string output_dir_;
};

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

// Counts how often images are read, and tells at each.
class Counting : public Dataset {
 public:
  Counting(std::unique_ptr<Dataset> images, std::function<void(int64_t reads)> on_read)
      : images_(std::move(images)), on_read_(std::move(on_read)) {}
  int64_t size() const override { return images_->size(); }
  ImageShape image_shape() const override { return images_->image_shape(); }
  const std::vector<std::string>& class_names() const override { return images_->class_names(); }
  absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
    on_read_(++reads_);
    return images_->Get(index, chw, label);
  }

 private:
  const std::unique_ptr<Dataset> images_;
  const std::function<void(int64_t)> on_read_;
  mutable std::atomic<int64_t> reads_{0};
};

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
            "--resume: tiny has no train step");
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

TEST_F(RunTest, TrainingWritesScalarsAndHistogramsOfEveryEpoch) {
  std::string two_epochs(kTrain);
  two_epochs.replace(two_epochs.find("epochs: 1"), 9, "epochs: 2");
  const auto run = Run(two_epochs);
  ASSERT_TRUE(run.ok()) << run.status();
  const std::vector<std::string> events = Events(JoinPath(run->folder, "tensorboard"));
  EXPECT_EQ(events[0], "file");
  EXPECT_THAT(events, testing::IsSupersetOf({"1 train/loss", "2 train/loss", "2 train/top-1", "2 train/learning rate",
                                             "2 train/seconds", "2 held-out/top-1", "2 held-out/top-3",
                                             "2 held-out/precision", "2 held-out/recall", "2 held-out/F1",
                                             "1 parameters/conv1.weight", "2 parameters/linear.bias"}));
  EXPECT_EQ(std::count(events.begin(), events.end(), "2 train/loss"), 1);
}

// A run that goes on after its first epoch takes back what it wrote of later ones before it was killed.
TEST_F(RunTest, AResumedTrainingTakesBackWhatItHadWrittenOfLaterEpochs) {
  std::string two_epochs(kTrain);
  two_epochs.replace(two_epochs.find("epochs: 1"), 9, "epochs: 2");
  auto config = Config::Parse(two_epochs, "configs/tiny.textproto");
  ASSERT_TRUE(config.ok() && config->Set("output_dir", output_dir_, "test").ok());
  PlanOptions options;
  options.open_data = [](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
    auto images = OpenSynthetic(split);
    // An epoch learns from 64 images and looks at the 16 held out; the loader is not a whole epoch ahead.
    return std::make_unique<Counting>(*std::move(images), [](int64_t reads) {
      if (reads == 64 + 16 + 64 + 16) RequestInterruptForTest();
    });
  };
  const auto plan = PlanRun(*config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunResult killed;
  const absl::Status status = ExecuteRun(*plan, &killed);
  ClearInterrupt();
  ASSERT_TRUE(absl::IsCancelled(status)) << status;
  const std::string folder = JoinPath(killed.folder, "tensorboard");
  const size_t before = Events(folder).size();
  EXPECT_THAT(Events(folder), Contains("1 train/loss"));
  EXPECT_THAT(Events(folder), Not(Contains("2 train/loss")));

  const auto resumed = Run(two_epochs, /*resume=*/true);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->folder, killed.folder);
  const std::vector<std::string> events = Events(folder);
  ASSERT_GT(events.size(), before + 2);
  EXPECT_EQ(events[before], "file");
  EXPECT_EQ(events[before + 1], "restart 2");
  EXPECT_EQ(events[before + 2], "2 train/loss");
}

TEST_F(RunTest, QuantizationWritesWeightsAndActivationsBeforeAndAfter) {
  const auto run = Run(absl::StrCat(TrainedModel(), "steps { evaluate {} }", kQuantize));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::vector<std::string> events = Events(JoinPath(run->folder, "tensorboard"));
  for (const char* tag : {"weights/conv1", "weights/layer1.0.conv2", "weights/linear", "activations/input"}) {
    EXPECT_THAT(events, testing::IsSupersetOf({absl::StrCat("0 ", tag), absl::StrCat("1 ", tag)}));
  }
  // Float, then quantized.
  EXPECT_THAT(events, testing::IsSupersetOf({"0 evaluate/accuracy", "1 evaluate/accuracy", "1 evaluate/top-3",
                                             "1 evaluate/precision", "1 evaluate/recall", "1 evaluate/F1",
                                             "0 evaluate/confusion", "1 evaluate/confusion"}));
}

TEST_F(RunTest, EachValueOfASweepIsARunOfTensorBoards) {
  const auto run = Run(absl::StrCat(TrainedModel(), "steps { evaluate { name: \"float\" } }", kQuantize, kSweep));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string folder = JoinPath(run->folder, "tensorboard");
  EXPECT_THAT(Events(folder), ElementsAre("file", "0 evaluate/accuracy", "0 evaluate/top-3", "0 evaluate/precision",
                                          "0 evaluate/recall", "0 evaluate/F1", "0 evaluate/confusion"));
  for (const char* value : {"bits=2", "bits=4", "bits=8"}) {
    EXPECT_THAT(Events(JoinPath(folder, value)),
                testing::IsSupersetOf({"1 weights/conv1", "1 activations/input", "0 evaluate/accuracy"}));
  }
}

TEST_F(RunTest, TensorBoardChangesNoModelAndCanBeTurnedOff) {
  const std::string text = absl::StrCat(TrainedModel(), kQuantize);
  const auto with = Run(text);
  const auto without = Run(absl::StrCat("tensorboard: false ", text));
  ASSERT_TRUE(with.ok() && without.ok());
  EXPECT_THAT(FilesIn(without->folder),
              UnorderedElementsAre("config.textproto", "report.json", "report.md", "model.safetensors"));
  EXPECT_EQ(Bytes(with->folder, "model.safetensors"), Bytes(without->folder, "model.safetensors"));
}

TEST_F(RunTest, ARunWithoutEventsMakesNoFolder) {
  const auto run = Run(absl::StrCat(TrainedModel(), "steps { summary {} }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(FilesIn(run->folder), UnorderedElementsAre("config.textproto", "report.json", "report.md"));
}

TEST_F(RunTest, EventsThatCannotBeWrittenAreAnErrorThatNamesThePlace) {
  const auto first = Run(kTrain);
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string folder = JoinPath(first->folder, "tensorboard");
  fs::remove_all(folder);
  ASSERT_TRUE(WriteFileAtomic(folder, "a file").ok());
  const auto plan = Plan(absl::StrCat(kTrain, "steps { evaluate {} }"), /*resume=*/true);
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunResult result;
  EXPECT_EQ(std::string(ExecuteRun(*plan, &result).message()),
            absl::StrCat("configs/tiny.textproto:4:9: steps[1].evaluate: cannot make the folder \"", folder,
                         "\": Not a directory"));
  EXPECT_EQ(result.report.rows.size(), 1u);  // what was found out is not lost
}

// ---- Mistakes ----

TEST_F(RunTest, MistakesAreDrawnOnOneSheet) {
  const std::string model = TrainedModel();
  testing::internal::CaptureStderr();
  const auto run = Run(absl::StrCat(model, "steps { evaluate { mistakes: 3 per_class: true } } ",
                                    "steps { evaluate { mistakes: 2 name: \"again & again\" } } ",
                                    "steps { evaluate { mistakes: 1 name: \"again & again\" } } "));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("evaluate float, class by class:\n\nclass   accuracy  precision      F1  images\n"));
  EXPECT_THAT(said, HasSubstr(absl::StrCat("evaluate float, most confident mistakes (", run->folder,
                                           "/mistakes.png):\n\nimage  class   taken for  confidence\n")));
  EXPECT_THAT(said, Not(HasSubstr("evaluate again & again, class by class")));
  // One epoch on few images: it makes mistakes.
  const auto& mistakes = run->report.rows[0].result.mistakes;
  ASSERT_EQ(mistakes.size(), 3u);
  EXPECT_NE(mistakes[0].label, mistakes[0].prediction);
  EXPECT_GE(mistakes[0].confidence, mistakes[1].confidence);
  EXPECT_THAT(FilesIn(run->folder),
              testing::IsSupersetOf({"mistakes.png", "mistakes_again___again.png", "mistakes_again___again-2.png"}));
  // Three tiles of 192 pixels side by side.
  EXPECT_EQ(PngSize(Bytes(run->folder, "mistakes.png")).first, 16 + 3 * (192 + 16));
  const auto json = nlohmann::json::parse(Bytes(run->folder, "report.json"));
  EXPECT_EQ(json["steps"][0]["mistakes"], "mistakes.png");
  EXPECT_EQ(json["evaluations"][0]["mistakes"].size(), 3u);
  EXPECT_THAT(Events(JoinPath(run->folder, "tensorboard")),
              testing::IsSupersetOf({"0 evaluate/mistakes", "1 evaluate/mistakes"}));
}

TEST_F(RunTest, InASweepEachValueHasItsSheet) {
  std::string text = absl::StrCat(TrainedModel(), "steps { evaluate {} }", kQuantize, kSweep);
  text.replace(text.rfind("evaluate {}"), 11, "evaluate { mistakes: 4 }");
  const auto run = Run(text);
  ASSERT_TRUE(run.ok()) << run.status();
  for (const char* file : {"bits=2/mistakes.png", "bits=4/mistakes.png", "bits=8/mistakes.png"}) {
    EXPECT_GT(PngSize(Bytes(run->folder, file)).second, 192) << file;
  }
}

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
