#ifndef LOWBIT_PIPELINE_RUN_FIXTURE_H_
#define LOWBIT_PIPELINE_RUN_FIXTURE_H_

// What the tests of runs start from: configs of a tiny network, synthetic images, a folder of their own.

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "data/in_memory_dataset.h"
#include "gtest/gtest.h"
#include "pipeline/paths.h"
#include "pipeline/run.h"

namespace lowbit {

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

inline absl::StatusOr<std::unique_ptr<Dataset>> OpenSynthetic(Split split) {
  SyntheticOptions options;
  options.size = split == Split::kTrain ? 80 : 40;
  options.num_classes = 4;
  return absl::StatusOr<std::unique_ptr<Dataset>>(MakeSyntheticDataset(options));
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
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      names.push_back(entry.path().filename().string());
    return names;
  }

  static std::string Bytes(const std::string& folder, const char* file) {
    const auto bytes = ReadFile(JoinPath(folder, file));
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.value_or("");
  }

  std::string output_dir_;
};

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_RUN_FIXTURE_H_
