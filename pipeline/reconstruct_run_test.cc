// Runs with the steps reconstruct and distill, and evaluations of training images that nothing was fitted to.

#include <algorithm>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "pipeline/run_fixture.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr char kFold[] = "steps { fold { check_images: 32 } }\n";
constexpr char kQuantizeOnly[] = R"(
  steps { calibrate { num_images: 32 batch_size: 16 } }
  steps {
    quantize {
      rules {
        weights { quantizer { name: "mse" bits: 2 } }
        activations { quantizer { name: "mse" bits: 3 } }
      }
    }
  }
)";
constexpr char kReconstruct[] = "steps { reconstruct { iterations: 20 num_images: 32 batch_size: 8 } }\n";
constexpr char kDistill[] =
    "steps { distill { epochs: 2 num_images: 64 batch_size: 8 held_out_images: 16 warmup_steps: 2 } }\n";

class ReconstructRunTest : public RunTest {
 protected:
  // The report's step of this name.
  static nlohmann::json StepOf(const std::string& folder, const std::string& name) {
    const auto report = nlohmann::json::parse(Bytes(folder, "report.json"));
    for (const auto& step : report["steps"]) {
      if (step["step"] == name) return step;
    }
    ADD_FAILURE() << "no step " << name;
    return {};
  }

  std::string PlanError(const std::string& text) const { return std::string(Plan(text).status().message()); }
};

TEST_F(ReconstructRunTest, ReconstructsAndDistills) {
  const std::string model = TrainedModel();
  const auto plain = Run(absl::StrCat(model, kFold, kQuantizeOnly));
  ASSERT_TRUE(plain.ok()) << plain.status();
  const auto run = Run(absl::StrCat(model, kFold, kQuantizeOnly, kReconstruct, kDistill, "steps { evaluate {} }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->report.models.size(), 1u);
  EXPECT_NE(Bytes(run->folder, "model.safetensors"), Bytes(plain->folder, "model.safetensors"));

  // conv1, the block with two convolutions, the linear layer.
  const auto blocks = StepOf(run->folder, "reconstruct")["blocks"];
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0]["block"], "conv1");
  EXPECT_EQ(blocks[1]["block"], "layer1.0.conv1 to layer1.0.conv2");
  EXPECT_EQ(blocks[1]["roundings"], 2 * 4 * 4 * 9);
  EXPECT_EQ(blocks[2]["block"], "linear");
  for (const auto& block : blocks) {
    EXPECT_EQ(block["steps"], 20);
    EXPECT_LE(static_cast<double>(block["end_error"]), static_cast<double>(block["start_error"])) << block;
  }
  EXPECT_LT(static_cast<double>(blocks[1]["end_error"]), static_cast<double>(blocks[1]["start_error"]));

  const auto distill = StepOf(run->folder, "distill");
  EXPECT_EQ(distill["images"], 48);
  ASSERT_EQ(distill["epochs"].size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(distill["epochs"][i]["epoch"], i);
  const bool closer = static_cast<double>(distill["epochs"][2]["held_out_kl"]) <
                      static_cast<double>(distill["epochs"][0]["held_out_kl"]);
  EXPECT_EQ(distill["result_of_epoch"], closer ? 2 : 0);

  // What is left is what was evaluated.
  const auto again =
      Run(absl::StrCat("model { quantized_model: \"", run->folder, "/model.safetensors\" }\nsteps { evaluate {} }"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->report.rows[0].result.metrics.top1, run->report.rows[0].result.metrics.top1);
}

TEST_F(ReconstructRunTest, TheSameSeedGivesTheSameBytes) {
  const std::string text = absl::StrCat(TrainedModel(), kFold, kQuantizeOnly, kReconstruct, kDistill);
  const auto first = Run(text), second = Run(text), other = Run(absl::StrCat("seed: 2\n", text));
  ASSERT_TRUE(first.ok() && second.ok() && other.ok()) << first.status() << second.status() << other.status();
  EXPECT_EQ(Bytes(first->folder, "model.safetensors"), Bytes(second->folder, "model.safetensors"));
  EXPECT_NE(Bytes(first->folder, "model.safetensors"), Bytes(other->folder, "model.safetensors"));
}

// Each of the presets, at a few steps; and all images but those held out.
TEST_F(ReconstructRunTest, PresetsAndWholeEpochs) {
  const std::string before = absl::StrCat(TrainedModel(), kFold, kQuantizeOnly);
  for (const char* preset : {"ADAROUND", "BRECQ", "QDROP", "GENIE_M", "FLEXROUND", "PD_QUANT"}) {
    const auto run = Run(absl::StrCat(before, "steps { reconstruct { preset: ", preset,
                                      " iterations: 4 num_images: 16 batch_size: 8",
                                      std::string(preset) == "BRECQ" ? " activation_iterations: 2" : "", " } }"));
    ASSERT_TRUE(run.ok()) << preset << run.status();
    EXPECT_EQ(StepOf(run->folder, "reconstruct")["blocks"].size(), std::string(preset) == "ADAROUND" ? 4u : 3u);
  }
  const auto run = Run(absl::StrCat(before, "steps { distill { epochs: 1 batch_size: 16 held_out_images: 10 } }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(StepOf(run->folder, "distill")["images"], 70);
}

// From the config that a sweep over presets leaves each preset becomes what it was.
TEST_F(ReconstructRunTest, ASweepOverPresetsRunsAgain) {
  const auto first = Run(absl::StrCat(
      TrainedModel(), kFold, kQuantizeOnly, "steps { reconstruct { iterations: 4 num_images: 16 batch_size: 8 } }",
      "sweep { column: \"p\" fields: \"steps[3].reconstruct.preset\" values: [\"LOWBIT\", \"ADAROUND\"] }"));
  ASSERT_TRUE(first.ok()) << first.status();
  const auto again = Run(Bytes(first->folder, "config.textproto"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_NE(Bytes(first->folder, "model_p=ADAROUND.safetensors"), Bytes(first->folder, "model_p=LOWBIT.safetensors"));
  for (const char* model : {"model_p=ADAROUND.safetensors", "model_p=LOWBIT.safetensors"}) {
    EXPECT_EQ(Bytes(again->folder, model), Bytes(first->folder, model)) << model;
  }
}

TEST_F(ReconstructRunTest, TwoOfAKindHaveTheirOwnCheckpoints) {
  const auto run =
      Run(absl::StrCat(TrainedModel(), kFold, kQuantizeOnly, kReconstruct, kReconstruct, kDistill, kDistill));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(FilesIn(run->folder), testing::IsSupersetOf({"reconstruction.safetensors", "reconstruction-2.safetensors",
                                                           "distillation.safetensors", "distillation-2.safetensors"}));
}

// ---- Stopping and going on ----

// Interrupted wherever it reads so many images, it comes to the same model.
TEST_F(ReconstructRunTest, GoingOnGivesTheSameModel) {
  const std::string text = absl::StrCat(kTrain, kFold, kQuantizeOnly, kReconstruct, kDistill);
  const auto whole = Run(text);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const std::string wanted = Bytes(whole->folder, "model.safetensors");
  std::filesystem::remove_all(whole->folder);

  // Of 80 training images: training reads 64 and 16, fold 32, calibrate 32, reconstruct 32 at once, distill 48 and
  // 16 for the checkpoint's fingerprint, 16 for its start, and 48 and 16 for each epoch. In the second epoch of
  // distill.
  static int64_t stop_at = 0;
  stop_at = 64 + 16 + 32 + 32 + 32 + (48 + 16) + 16 + (48 + 16) + 30;
  auto config = Config::Parse(text, "configs/tiny.textproto");
  ASSERT_TRUE(config.ok() && config->Set("output_dir", output_dir_, "test").ok());
  PlanOptions options;
  options.open_data = [](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
    auto images = OpenSynthetic(split);
    if (!images.ok() || split != Split::kTrain) return images;
    return std::make_unique<Counting>(*std::move(images), [](int64_t reads) {
      if (reads == stop_at) RequestInterruptForTest();
    });
  };
  const auto plan = PlanRun(*config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunResult stopped;
  EXPECT_EQ(ExecuteRun(*plan, &stopped).code(), absl::StatusCode::kCancelled);
  ClearInterrupt();
  EXPECT_THAT(FilesIn(stopped.folder), testing::IsSupersetOf({"checkpoint.safetensors", "reconstruction.safetensors",
                                                              "distillation.safetensors"}));

  // With another limit of memory, which makes no difference.
  const auto resumed =
      Run(absl::StrReplaceAll(text, {{"reconstruct {", "reconstruct { memory_mib: 0"}}), /*resume=*/true);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->folder, stopped.folder);
  EXPECT_EQ(Bytes(resumed->folder, "model.safetensors"), wanted);
  EXPECT_EQ(StepOf(resumed->folder, "distill")["epochs"].size(), 3u);
  EXPECT_EQ(StepOf(resumed->folder, "reconstruct")["blocks"].size(), 3u);
}

// ---- What makes no sense ----

TEST_F(ReconstructRunTest, BatchNormsMustBeFolded) {
  const std::string before = absl::StrCat(kTrain, kQuantizeOnly);
  EXPECT_THAT(PlanError(absl::StrCat(before, kReconstruct)),
              HasSubstr("steps[3].reconstruct: the batch norm \"bn1\" is not folded; put a fold step before quantize"));
  EXPECT_THAT(PlanError(absl::StrCat(before, kDistill)),
              HasSubstr("steps[3].distill: the batch norm \"bn1\" is not folded; put a fold step before quantize"));
}

TEST_F(ReconstructRunTest, MoreImagesThanThereAre) {
  const std::string before = absl::StrCat(kTrain, kFold, kQuantizeOnly);
  EXPECT_THAT(PlanError(absl::StrCat(before, "steps { reconstruct { num_images: 81 } }")),
              HasSubstr("steps[4].reconstruct.num_images: there are 80 training images, got 81"));
  EXPECT_THAT(PlanError(absl::StrCat(before, "steps { distill { num_images: 81 } }")),
              HasSubstr("steps[4].distill.num_images: there are 80 training images, got 81"));
  EXPECT_THAT(PlanError(absl::StrCat(before, "steps { distill { batch_size: 16 held_out_images: 65 } }")),
              HasSubstr("steps[4].distill.held_out_images: must leave a batch of 16 of the 80 images to learn from, "
                        "got 65"));
  EXPECT_THAT(
      PlanError(absl::StrCat(before, "steps { distill { batch_size: 16 num_images: 32 held_out_images: 17 } }")),
      HasSubstr("held_out_images: must leave a batch of 16 of the 32 images to learn from, got 17"));
  EXPECT_THAT(PlanError(absl::StrCat(before,
                                     "steps { distill { batch_size: 16 held_out_images: 10 augment { "
                                     "crop_padding: 99 } } }")),
              HasSubstr("steps[4].distill.augment.crop_padding: "));
}

TEST_F(ReconstructRunTest, ThereMustBeSomethingQuantized) {
  for (const char* step : {"reconstruct", "distill"}) {
    EXPECT_THAT(PlanError(absl::StrCat(kTrain, kFold, "steps { ", step, " {} }")),
                HasSubstr(absl::StrCat("steps[2].", step, ": needs a quantized model: put a quantize step before it")));
  }
  const auto run = Run(absl::StrCat(TrainedModel(), kFold, kQuantizeOnly));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string packed = absl::StrCat("model { quantized_model: \"", run->folder, "/model.safetensors\" }\n");
  for (const char* step : {"reconstruct", "distill"}) {
    EXPECT_THAT(PlanError(absl::StrCat(packed, "steps { ", step, " {} }")),
                HasSubstr(absl::StrCat("steps[0].", step, ": needs the float network that was quantized")));
  }
}

// ---- Evaluation of training images ----

// Which training images are read, in order.
class Watched : public Dataset {
 public:
  Watched(std::unique_ptr<Dataset> images, std::vector<int64_t>* read) : images_(std::move(images)), read_(read) {}
  int64_t size() const override { return images_->size(); }
  ImageShape image_shape() const override { return images_->image_shape(); }
  const std::vector<std::string>& class_names() const override { return images_->class_names(); }
  absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      read_->push_back(index);
    }
    return images_->Get(index, chw, label);
  }

 private:
  const std::unique_ptr<Dataset> images_;
  std::vector<int64_t>* const read_;
  mutable std::mutex mutex_;
};

class UnseenTrainingTest : public ReconstructRunTest {
 protected:
  // The training images that a run of these steps reads.
  std::vector<int64_t> Read(const std::string& text) const {
    static std::vector<int64_t> read;
    read.clear();
    auto config = Config::Parse(text, "configs/tiny.textproto");
    EXPECT_TRUE(config.ok() && config->Set("output_dir", output_dir_, "test").ok()) << config.status();
    PlanOptions options;
    options.open_data = [](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
      auto images = OpenSynthetic(split);
      if (!images.ok() || split != Split::kTrain) return images;
      return std::make_unique<Watched>(*std::move(images), &read);
    };
    const auto plan = PlanRun(*config, options);
    EXPECT_TRUE(plan.ok()) << plan.status();
    RunResult result;
    const absl::Status status = ExecuteRun(*plan, &result);
    EXPECT_TRUE(status.ok()) << status;
    return read;
  }

  static constexpr char kUnseen[] = "steps { evaluate { images: UNSEEN_TRAINING max_images: 40 } }\n";
};

TEST_F(UnseenTrainingTest, NeverMeetsCalibrationImages) {
  const std::string model = TrainedModel();
  for (const char* seed : {"", "seed: 2\n"}) {
    // Fold's 32, the 32 of calibrate, and 40 others.
    const std::vector<int64_t> read = Read(absl::StrCat(seed, model, kFold, kQuantizeOnly, kUnseen));
    ASSERT_EQ(read.size(), 32u + 32 + 40);
    const std::set<int64_t> calibration(read.begin() + 32, read.begin() + 64);
    const std::set<int64_t> evaluated(read.begin() + 64, read.end());
    EXPECT_EQ(calibration.size(), 32u);
    EXPECT_EQ(evaluated.size(), 40u);
    for (const int64_t image : evaluated) EXPECT_EQ(calibration.count(image), 0u) << image;
    EXPECT_FALSE(std::is_sorted(read.begin() + 64, read.end()));
  }
}

// What was learned from is as little unseen: of more images than calibrate drew, and of all but those held out.
TEST_F(UnseenTrainingTest, NeverMeetsWhatWasLearnedFrom) {
  const std::string before = absl::StrCat(TrainedModel(), kFold, kQuantizeOnly);
  const auto set_of = [](const std::vector<int64_t>& read, size_t first, size_t count) {
    return std::set<int64_t>(read.begin() + static_cast<ptrdiff_t>(first),
                             read.begin() + static_cast<ptrdiff_t>(first + count));
  };
  std::vector<int64_t> read =
      Read(absl::StrCat(before, "steps { reconstruct { iterations: 1 num_images: 60 batch_size: 8 } }",
                        "steps { evaluate { images: UNSEEN_TRAINING max_images: 20 } }"));
  ASSERT_EQ(read.size(), 32u + 32 + 60 + 20);
  std::set<int64_t> all = set_of(read, 64, 60);
  EXPECT_EQ(all.size(), 60u);
  all.merge(set_of(read, 124, 20));
  EXPECT_EQ(all.size(), 80u);

  // Last, distill measures the 20 held out, some of which calibrate drew. (In batches of 10, which leave no image
  // over.)
  read = Read(absl::StrCat(before, "steps { distill { epochs: 1 batch_size: 10 held_out_images: 20 } }",
                           "steps { evaluate { images: UNSEEN_TRAINING max_images: 6 } }"));
  ASSERT_GT(read.size(), 26u);
  const std::set<int64_t> calibration = set_of(read, 32, 32), held_out = set_of(read, read.size() - 26, 20);
  EXPECT_EQ(held_out.size(), 20u);
  for (const int64_t image : set_of(read, read.size() - 6, 6)) {
    EXPECT_TRUE(held_out.count(image) == 1 && calibration.count(image) == 0) << image;
  }
}

// The seed decides on them, and an evaluation of the test images reads no training images.
TEST_F(UnseenTrainingTest, DrawnByTheSeed) {
  const std::string model = TrainedModel();
  const auto of = [&](const char* seed) {
    std::vector<int64_t> read = Read(absl::StrCat(seed, model, kUnseen));
    std::sort(read.begin(), read.end());  // (the loader reads ahead with several threads)
    return read;
  };
  EXPECT_EQ(of("").size(), 40u);
  EXPECT_EQ(of(""), of(""));
  EXPECT_NE(of(""), of("seed: 2\n"));
  EXPECT_TRUE(Read(absl::StrCat(model, "steps { evaluate {} }")).empty());
  EXPECT_THAT(PlanError(absl::StrCat(model, "steps { evaluate { images: UNSEEN_TRAINING max_images: 81 } }")),
              HasSubstr("steps[0].evaluate.max_images: there are 80 training images, got 81"));
}

}  // namespace
}  // namespace lowbit
