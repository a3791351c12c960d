// Runs with the steps reconstruct and distill.

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "pipeline/run_fixture.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr char kFold[] = "steps { fold { check_images: 0 } }\n";
constexpr char kQuantizeOnly[] = R"(
  steps { calibrate { num_images: 32 batch_size: 16 } }
  steps {
    quantize {
      rules {
        weights { quantizer { name: "per_channel" bits: 2 } }
        activations { quantizer { name: "per_channel" bits: 3 } }
      }
    }
  }
)";
constexpr char kReconstruct[] = "steps { reconstruct { num_images: 32 batch_size: 8 iterations: 20 } }\n";
constexpr char kDistill[] =
    "steps { distill { num_images: 32 batch_size: 8 epochs: 2 augment { crop_padding: 1 } } }\n";

class ReconstructRunTest : public RunTest {
 protected:
  static nlohmann::json StepOf(const std::string& folder, const std::string& name) {
    const auto report = nlohmann::json::parse(Bytes(folder, "report.json"));
    for (const auto& step : report["steps"]) {
      if (step["step"] == name) return step;
    }
    return nullptr;
  }

  // The run of `text`, with an interrupt when a training image is read for the `reads`th time.
  std::string Interrupted(const std::string& text, int64_t reads) const {
    auto config = Config::Parse(text, "configs/tiny.textproto");
    EXPECT_TRUE(config.ok() && config->Set("output_dir", output_dir_, "test").ok());
    PlanOptions options;
    options.open_data = [reads](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
      auto images = OpenSynthetic(split);
      if (split == Split::kTest) return images;
      return std::make_unique<Counting>(*std::move(images), [reads](int64_t now) {
        if (now == reads) RequestInterruptForTest();
      });
    };
    const auto plan = PlanRun(*config, options);
    EXPECT_TRUE(plan.ok()) << plan.status();
    RunResult result;
    const absl::Status status = ExecuteRun(*plan, &result);
    ClearInterrupt();
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
    return result.folder;
  }

  std::string PlanError(const std::string& text) const { return std::string(Plan(text).status().message()); }
};

TEST_F(ReconstructRunTest, BothStepsLeaveAModelAndTellWhatTheyDid) {
  const std::string text =
      absl::StrCat(TrainedModel(), kFold, kQuantizeOnly, "steps { evaluate {} }", kReconstruct, kDistill,
                   "steps { evaluate {} } steps { evaluate { images: UNSEEN_TRAINING max_images: 30 } }");
  const auto run = Run(text);
  ASSERT_TRUE(run.ok()) << run.status();
  const auto blocks = StepOf(run->folder, "reconstruct")["blocks"];
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[1]["block"], "layer1.0.conv1 to layer1.0.conv2");
  for (const auto& block : blocks) EXPECT_LE(block["end_error"], block["start_error"]);
  const auto distill = StepOf(run->folder, "distill");
  EXPECT_EQ(distill["epochs"].size(), 3u);
  EXPECT_EQ(distill["images"], 28);  // An eighth is held out.
  ASSERT_EQ(run->report.rows.size(), 3u);
  EXPECT_EQ(run->report.rows[2].result.metrics.images, 30);

  const auto again = Run(text);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(Bytes(run->folder, "model.safetensors") == Bytes(again->folder, "model.safetensors"));
  const auto other = Run(absl::StrCat("seed: 2\n", text));
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_FALSE(Bytes(run->folder, "model.safetensors") == Bytes(other->folder, "model.safetensors"));
  // What is left is what was evaluated.
  const auto packed =
      Run(absl::StrCat("model { quantized_model: \"", run->folder, "/model.safetensors\" }\nsteps { evaluate {} }"));
  ASSERT_TRUE(packed.ok()) << packed.status();
  EXPECT_EQ(packed->report.rows[0].result.metrics.top1, run->report.rows[1].result.metrics.top1);
}

TEST_F(ReconstructRunTest, AnInterruptedRunGoesOnToTheSameModel) {
  const std::string text = absl::StrCat(TrainedModel(), kFold, kQuantizeOnly, kReconstruct, kDistill);
  const auto whole = Run(text);
  ASSERT_TRUE(whole.ok()) << whole.status();
  // Calibrate and reconstruct read 32 images each; then the start and an epoch of distill 4 and 28 + 4.
  const std::string folder = Interrupted(text, 32 + 32 + 4 + 28 + 4 + 10);
  EXPECT_THAT(FilesIn(folder), testing::IsSupersetOf({"reconstruction.safetensors", "distillation.safetensors"}));
  const auto resumed = Run(text, /*resume=*/true);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->folder, folder);
  EXPECT_TRUE(Bytes(folder, "model.safetensors") == Bytes(whole->folder, "model.safetensors"));
}

TEST_F(ReconstructRunTest, EachOfTwoStepsHasItsOwnCheckpoint) {
  const auto run =
      Run(absl::StrCat(TrainedModel(), kFold, kQuantizeOnly, kReconstruct, kReconstruct, kDistill, kDistill));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(FilesIn(run->folder), testing::IsSupersetOf({"reconstruction.safetensors", "reconstruction-2.safetensors",
                                                           "distillation.safetensors", "distillation-2.safetensors"}));
}

// 80 training images, 32 of which calibrate drew.
TEST_F(ReconstructRunTest, UnseenImagesAreNoneOfCalibrates) {
  const std::string evaluate = "steps { evaluate { images: UNSEEN_TRAINING max_images: 48 } }";
  auto config = Config::Parse(absl::StrCat(TrainedModel(), kFold, kQuantizeOnly, evaluate), "configs/tiny.textproto");
  ASSERT_TRUE(config.ok() && config->Set("output_dir", output_dir_, "test").ok());
  struct Recording : Dataset {
    std::unique_ptr<Dataset> images;
    std::multiset<int64_t>* reads;
    int64_t size() const override { return images->size(); }
    ImageShape image_shape() const override { return images->image_shape(); }
    const std::vector<std::string>& class_names() const override { return images->class_names(); }
    absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
      reads->insert(index);  // one thread of the loader reads
      return images->Get(index, chw, label);
    }
  };
  std::multiset<int64_t> reads;
  PlanOptions options;
  options.open_data = [&](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
    auto images = OpenSynthetic(split);
    if (split == Split::kTest) return images;
    auto recording = std::make_unique<Recording>();
    recording->images = *std::move(images);
    recording->reads = &reads;
    return recording;
  };
  const auto plan = PlanRun(*config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunResult result;
  ASSERT_TRUE(ExecuteRun(*plan, &result).ok());
  EXPECT_EQ(reads.size(), 80u);
  for (int64_t i = 0; i < 80; ++i) EXPECT_EQ(reads.count(i), 1u) << i;
}

// ---- What makes no sense ----

TEST_F(ReconstructRunTest, PlanErrors) {
  const std::string model = TrainedModel();
  for (const char* step : {"reconstruct", "distill"}) {
    EXPECT_THAT(PlanError(absl::StrCat(model, kQuantizeOnly, "steps { ", step, " { num_images: 32 batch_size: 8 } }")),
                HasSubstr("the batch norm \"bn1\" is not folded; put a fold step before quantize"))
        << step;
    EXPECT_THAT(PlanError(absl::StrCat(model, kFold, kQuantizeOnly, "steps { ", step, " { num_images: 81 } }")),
                HasSubstr("num_images: there are 80 training images, got 81"))
        << step;
    EXPECT_THAT(PlanError(absl::StrCat(model, kFold, "steps { ", step, " { num_images: 32 batch_size: 8 } }")),
                HasSubstr("quantize"))
        << step;
  }
  EXPECT_THAT(PlanError(absl::StrCat(model, kFold, kQuantizeOnly,
                                     "steps { distill { num_images: 32 batch_size: 30 held_out_images: 3 } }")),
              HasSubstr("held_out_images: must leave a batch of 30 of the 32 images to learn from, got 3"));
  EXPECT_THAT(
      PlanError(absl::StrCat(model, kFold, kQuantizeOnly,
                             "steps { distill { num_images: 32 batch_size: 8 augment { crop_padding: 99 } } }")),
      HasSubstr("augment.crop_padding"));
  EXPECT_THAT(PlanError(absl::StrCat(model, "steps { evaluate { images: UNSEEN_TRAINING max_images: 81 } }")),
              HasSubstr("max_images: there are 80 training images, got 81"));
}

}  // namespace
}  // namespace lowbit
