#include "train/trainer.h"

#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/field_error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "data/in_memory_dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Small images and a network of a thousand parameters with a batch norm, so that running statistics count too.
Graph SmallGraph(int64_t width = 8) {
  absl::StatusOr<Graph> graph = Graph::Create({{"input", Input{3, 8, 8}, {}},
                                               {"conv", Conv2d{3, width, {3, 3}, {1, 1}, {1, 1}}, {0}},
                                               {"bn", BatchNorm{width}, {1}},
                                               {"relu", Relu{}, {2}},
                                               {"pool", AvgPool{{4, 4}, {4, 4}}, {3}},
                                               {"flatten", Flatten{}, {4}},
                                               {"linear", Linear{width * 4, 4}, {5}}});
  if (!graph.ok()) std::abort();
  return *std::move(graph);
}

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    static int count = 0;
    directory_ = ::testing::TempDir() + "/trainer_test_" + std::to_string(count++);
    SyntheticOptions options;
    options.size = 240;
    options.shape = {3, 8, 8};
    options.num_classes = 4;
    dataset_ = MakeSyntheticDataset(options);
  }

  TrainRequest Request(int epochs) {
    TrainRequest request;
    request.graph = &graph_;
    request.initial = InitParameters(graph_, 3);
    request.dataset = dataset_.get();
    request.config.set_epochs(epochs);
    request.config.set_batch_size(16);
    request.config.set_learning_rate(0.05);
    request.config.set_validation_images(40);
    request.config.mutable_augment()->set_crop_padding(1);
    request.config.mutable_augment()->set_brightness(0.2);
    request.seed = 11;
    request.directory = directory_;
    return request;
  }

  static void ExpectSame(const ParameterMap& a, const ParameterMap& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, tensor] : a) EXPECT_TRUE(tensor.equal(b.at(name))) << name;
  }

  Graph graph_ = SmallGraph();
  std::unique_ptr<Dataset> dataset_;
  std::string directory_;
};

TEST_F(TrainerTest, LearnsWhatCanBeLearned) {
  absl::StatusOr<TrainResult> result = Train(Request(6));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->history.size(), 6u);
  EXPECT_GT(result->history.back().validation_top1, 0.9);
  EXPECT_LT(result->history.back().train_loss, 0.5 * result->history.front().train_loss);
  // The best epoch is the first of those with the highest held-out accuracy.
  double best = -1;
  int best_epoch = 0;
  for (const EpochRecord& record : result->history) {
    if (record.validation_top1 > best) best = record.validation_top1, best_epoch = record.epoch;
  }
  EXPECT_EQ(result->best_epoch, best_epoch);
  absl::StatusOr<ParameterMap> saved = LoadParameters(directory_ + "/best.safetensors", graph_);
  ASSERT_TRUE(saved.ok()) << saved.status();
  ExpectSame(*saved, result->parameters);
}

TEST_F(TrainerTest, EachEpochIsToldAfterItsCheckpoint) {
  TrainRequest request = Request(2);
  request.config.set_ema_decay(0.5);
  std::vector<int> epochs;
  ParameterMap last;
  request.on_epoch = [&](const EpochRecord& record, const ParameterMap& parameters) {
    const absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint(directory_ + "/checkpoint.safetensors");
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->history.size(), static_cast<size_t>(record.epoch));
    EXPECT_EQ(checkpoint->history.back().f1, record.f1);
    ExpectSame(checkpoint->average, parameters);  // what was validated
    epochs.push_back(record.epoch);
    return absl::OkStatus();
  };
  ASSERT_TRUE(Train(request).ok());
  EXPECT_THAT(epochs, ::testing::ElementsAre(1, 2));
  // Gone on with, only the new epochs are told.
  epochs.clear();
  request.resume = true;
  ASSERT_TRUE(Train(request).ok());
  EXPECT_THAT(epochs, ::testing::IsEmpty());
}

TEST_F(TrainerTest, AnErrorOfWhoeverIsToldEndsTheTraining) {
  TrainRequest request = Request(3);
  request.on_epoch = [](const EpochRecord& record, const ParameterMap&) {
    return record.epoch == 2 ? absl::ResourceExhaustedError("disk full") : absl::OkStatus();
  };
  EXPECT_EQ(Train(request).status(), absl::ResourceExhaustedError("disk full"));
  EXPECT_EQ(LoadCheckpoint(directory_ + "/checkpoint.safetensors")->history.size(), 2u);
}

TEST_F(TrainerTest, ResumedAfterAnInterruptEndsWithTheSameWeights) {
  for (const bool adam_with_average : {false, true}) {
    TrainRequest request = Request(3);
    if (adam_with_average) {
      request.config.mutable_adam();
      request.config.set_ema_decay(0.9);
    }
    request.directory = directory_ + (adam_with_average ? "/straight_adam" : "/straight_sgd");
    absl::StatusOr<TrainResult> straight = Train(request);
    ASSERT_TRUE(straight.ok()) << straight.status();

    request.directory = directory_ + (adam_with_average ? "/stopped_adam" : "/stopped_sgd");
    // Interrupted by the data set in the middle of the second epoch, as Ctrl-C would.
    class Interrupting : public Dataset {
     public:
      explicit Interrupting(const Dataset& base) : base_(base) {}
      int64_t size() const override { return base_.size(); }
      ImageShape image_shape() const override { return base_.image_shape(); }
      const std::vector<std::string>& class_names() const override { return base_.class_names(); }
      absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
        // 192 learned and 40 validated in the first epoch; the loader runs at most 5 batches of 16 ahead.
        if (++reads_ == 192 + 40 + 150) RequestInterruptForTest();
        return base_.Get(index, chw, label);
      }

     private:
      const Dataset& base_;
      mutable std::atomic<int> reads_{0};
    } interrupting(*dataset_);
    request.dataset = &interrupting;
    absl::StatusOr<TrainResult> stopped = Train(request);
    EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
    ClearInterrupt();

    request.dataset = dataset_.get();
    request.resume = true;
    absl::StatusOr<TrainResult> resumed = Train(request);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    ASSERT_EQ(resumed->history.size(), 3u);
    EXPECT_EQ(resumed->best_epoch, straight->best_epoch);
    ExpectSame(resumed->parameters, straight->parameters);
    // Not only the best ones: everything that a fourth epoch would start from.
    absl::StatusOr<Checkpoint> a = LoadCheckpoint(request.directory + "/checkpoint.safetensors");
    absl::StatusOr<Checkpoint> b = LoadCheckpoint(
        directory_ + (adam_with_average ? "/straight_adam" : "/straight_sgd") + "/checkpoint.safetensors");
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a->optimizer_steps, 36);
    ExpectSame(a->parameters, b->parameters);
    ExpectSame(a->optimizer, b->optimizer);
    ExpectSame(a->average, b->average);
    EXPECT_EQ(a->average.empty(), !adam_with_average);
  }
}

TEST_F(TrainerTest, ResumeRefusesAnotherNetworksOrConfigsCheckpoint) {
  ASSERT_TRUE(Train(Request(1)).ok());
  TrainRequest request = Request(1);
  request.resume = true;
  request.config.set_learning_rate(0.06);
  EXPECT_THAT(std::string(Train(request).status().message()),
              AllOf(HasSubstr("checkpoint.safetensors: made by another training"), HasSubstr("learning_rate: 0.05"),
                    HasSubstr("learning_rate: 0.06")));
  EXPECT_EQ(CheckResume(request), Train(request).status());

  // What the images are like is part of it.
  request = Request(1);
  EXPECT_TRUE(CheckResume(request).ok()) << CheckResume(request);
  request.normalization.mean[1] = 0.5f;
  EXPECT_THAT(std::string(CheckResume(request).message()), HasSubstr("made by another training"));

  Graph wider = SmallGraph(16);
  request = Request(1);
  request.resume = true;
  request.graph = &wider;
  request.initial = InitParameters(wider, 3);
  const absl::StatusOr<std::string> before = ReadFile(directory_ + "/checkpoint.safetensors");
  EXPECT_THAT(std::string(Train(request).status().message()),
              HasSubstr("checkpoint.safetensors: not a checkpoint of this network: "));
  EXPECT_EQ(*ReadFile(directory_ + "/checkpoint.safetensors"), *before);
}

TEST_F(TrainerTest, ResumeWithoutACheckpointSaysSo) {
  EXPECT_FALSE(HasCheckpoint(directory_));
  TrainRequest request = Request(1);
  request.resume = true;
  EXPECT_EQ(Train(request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TrainerTest, DivergenceIsAnErrorThatNamesTheStep) {
  TrainRequest request = Request(2);
  request.config.set_learning_rate(1e30);
  EXPECT_THAT(std::string(Train(request).status().message()),
              AllOf(HasSubstr("training diverged: the loss is "), HasSubstr("at epoch 1, step "),
                    HasSubstr("lower learning_rate")));
}

TEST_F(TrainerTest, AverageLagsBehindTheWeights) {
  TrainRequest request = Request(1);
  request.config.set_ema_decay(0.99);
  absl::StatusOr<TrainResult> result = Train(request);
  ASSERT_TRUE(result.ok()) << result.status();
  absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint(directory_ + "/checkpoint.safetensors");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ExpectSame(result->parameters, checkpoint->average);
  EXPECT_FALSE(checkpoint->average.at("conv.weight").equal(checkpoint->parameters.at("conv.weight")));
}

TEST_F(TrainerTest, HeldOutImagesAreNeverLearnedFrom) {
  // Every label of the images that are held out is changed: had one been learned from, the weights would differ.
  class Relabelled : public Dataset {
   public:
    Relabelled(const Dataset& base, std::vector<bool> changed) : base_(base), changed_(std::move(changed)) {}
    int64_t size() const override { return base_.size(); }
    ImageShape image_shape() const override { return base_.image_shape(); }
    const std::vector<std::string>& class_names() const override { return base_.class_names(); }
    absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
      absl::Status status = base_.Get(index, chw, label);
      if (changed_[static_cast<size_t>(index)]) *label = (*label + 1) % 4;
      return status;
    }

   private:
    const Dataset& base_;
    std::vector<bool> changed_;
  };
  class Watching : public Relabelled {
   public:
    explicit Watching(const Dataset& base) : Relabelled(base, std::vector<bool>(240, false)) {}
    absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
      reads.push_back(index);
      return Relabelled::Get(index, chw, label);
    }
    mutable std::vector<int64_t> reads;
  } watching(*dataset_);
  TrainRequest request = Request(1);
  request.dataset = &watching;
  absl::StatusOr<TrainResult> plain = Train(request);
  ASSERT_TRUE(plain.ok());
  // The last 40 reads are the validation's.
  std::vector<bool> held_out(240, false);
  for (size_t i = watching.reads.size() - 40; i < watching.reads.size(); ++i)
    held_out[static_cast<size_t>(watching.reads[i])] = true;
  EXPECT_EQ(std::count(held_out.begin(), held_out.end(), true), 40);
  Relabelled relabelled(*dataset_, held_out);
  request.dataset = &relabelled;
  request.directory += "_relabelled";
  absl::StatusOr<TrainResult> changed = Train(request);
  ASSERT_TRUE(changed.ok());
  ExpectSame(plain->parameters, changed->parameters);
  EXPECT_NE(plain->history[0].validation_top1, changed->history[0].validation_top1);
}

TEST_F(TrainerTest, LearnsInMixedPrecision) {
  TrainRequest request = Request(6);
  request.config.set_bfloat16(true);
  if (!HasBFloat16(at::kCPU)) {
    const absl::Status status = Train(request).status();
    EXPECT_EQ(ErrorField(status), "bfloat16");
    EXPECT_EQ(std::string(status.message()),
              "this CPU has no bfloat16 arithmetic (AVX512-BF16); leave it out to compute in 32 bits");
    GTEST_SKIP() << "refused, as it should be: no AVX512-BF16 here";
  }
  absl::StatusOr<TrainResult> result = Train(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->history.back().validation_top1, 0.9);
  EXPECT_LT(result->history.back().train_loss, 0.5 * result->history.front().train_loss);
  // What is kept is the 32-bit weights, not what they were rounded to.
  const at::Tensor weight = result->parameters.at("conv.weight");
  EXPECT_EQ(weight.scalar_type(), at::kFloat);
  EXPECT_FALSE(weight.equal(weight.to(at::kBFloat16).to(at::kFloat)));

  request.directory += "_float";
  request.config.set_bfloat16(false);
  absl::StatusOr<TrainResult> in_32_bits = Train(request);
  ASSERT_TRUE(in_32_bits.ok()) << in_32_bits.status();
  EXPECT_FALSE(weight.equal(in_32_bits->parameters.at("conv.weight")));
  EXPECT_NEAR(result->history[0].train_loss, in_32_bits->history[0].train_loss, 0.05);
}

// A checkpoint from before there was a device in the config is one of the CPU's.
TEST_F(TrainerTest, TheDeviceThatIsTheDefaultIsNotPartOfTheFingerprint) {
  ASSERT_TRUE(Train(Request(1)).ok());
  absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint(directory_ + "/checkpoint.safetensors");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(checkpoint->fingerprint, AllOf(HasSubstr("validation_images: 40"), Not(HasSubstr("device"))));
  TrainRequest request = Request(1);
  request.config.set_device("cpu:0");
  EXPECT_TRUE(CheckResume(request).ok()) << CheckResume(request);
}

struct BadConfig {
  std::string field, message;
  void (*change)(TrainConfig&);
};

class TrainConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(TrainConfigTest, NamesTheFieldThatIsOutOfRange) {
  SyntheticOptions options;
  options.size = 240;
  TrainConfig config;
  config.set_batch_size(16);
  config.set_validation_images(40);
  const std::unique_ptr<Dataset> dataset = MakeSyntheticDataset(options);
  ASSERT_TRUE(CheckTrainConfig(config, *dataset).ok());
  GetParam().change(config);
  const absl::Status status = CheckTrainConfig(config, *dataset);
  EXPECT_EQ(ErrorField(status), GetParam().field);
  EXPECT_EQ(status.message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, TrainConfigTest,
    ::testing::Values(
        BadConfig{"epochs", "must be at least 1, got 0", [](TrainConfig& c) { c.set_epochs(0); }},
        BadConfig{"batch_size", "must be at least 2, got 1", [](TrainConfig& c) { c.set_batch_size(1); }},
        BadConfig{"learning_rate", "must be above 0, got nan",
                  [](TrainConfig& c) { c.set_learning_rate(std::nan("")); }},
        BadConfig{"weight_decay", "must be at least 0, got -0.1", [](TrainConfig& c) { c.set_weight_decay(-0.1); }},
        BadConfig{"label_smoothing", "must be in [0, 1), got 1", [](TrainConfig& c) { c.set_label_smoothing(1); }},
        BadConfig{"ema_decay", "must be in [0, 1), got 1.5", [](TrainConfig& c) { c.set_ema_decay(1.5); }},
        BadConfig{"sgd.momentum", "must be in [0, 1), got 1", [](TrainConfig& c) { c.mutable_sgd()->set_momentum(1); }},
        BadConfig{"adam.epsilon", "must be above 0, got 0", [](TrainConfig& c) { c.mutable_adam()->set_epsilon(0); }},
        BadConfig{"cosine.warmup_epochs", "must be at least 0 and below epochs, got 30",
                  [](TrainConfig& c) { c.mutable_cosine()->set_warmup_epochs(30); }},
        BadConfig{"one_cycle.warmup_fraction", "must be in (0, 1), got 1",
                  [](TrainConfig& c) { c.mutable_one_cycle()->set_warmup_fraction(1); }},
        BadConfig{"device", "must be \"cpu\", \"cuda\" or \"cuda:<number>\", got \"gpu\"",
                  [](TrainConfig& c) { c.set_device("gpu"); }},
        BadConfig{"validation_images",
                  "must be at least 1 and leave a batch of 16 out of the 240 training images, got 230",
                  [](TrainConfig& c) { c.set_validation_images(230); }}));

}  // namespace
}  // namespace lowbit
