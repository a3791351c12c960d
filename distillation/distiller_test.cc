#include "distillation/distiller.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "data/in_memory_dataset.h"
#include "data/loader.h"
#include "evaluation/answer_change.h"
#include "evaluation/batch_tensor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learning/learning_testing.h"
#include "model/executor.h"
#include "model/model_testing.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "train/augment_options.h"

namespace lowbit {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// in [3, 8, 8] -> conv -> relu -> pool -> flatten -> fc
Model SmallModel() {
  Conv2d conv{3, 6, {3, 3}};
  conv.padding = {1, 1};
  conv.bias = true;
  return {Make({{"in", Input{3, 8, 8}, {}},
                {"conv", conv, {0}},
                {"relu", Relu{}, {1}},
                {"pool", AvgPool{{4, 4}, {4, 4}}, {2}},
                {"flatten", Flatten{}, {3}},
                {"fc", Linear{24, 4}, {4}}}),
          {{"conv.weight", Random({6, 3, 3, 3}, 1).mul(0.3)},
           {"conv.bias", Random({6}, 2).mul(0.1)},
           {"fc.weight", Random({4, 24}, 3).mul(0.6)},
           {"fc.bias", Random({4}, 4).mul(0.1)}}};
}

QuantizedModel Quantized(const Model& model, int bits = 2) {
  QuantizedModel quantized = *ToQuantizedModel(model);
  for (const std::string layer : {"conv", "fc"}) {
    const at::Tensor& weight = model.parameters.at(layer + ".weight");
    std::vector<float> scale;
    for (int64_t c = 0; c < weight.size(0); ++c)
      scale.push_back(1.2f * weight[c].abs().max().item<float>() / static_cast<float>(1 << (bits - 1)));
    const QuantParams params = Params(bits, true, scale);
    EXPECT_TRUE(SetWeight(layer, {params, Quantize(weight, params)}, &quantized).ok());
  }
  quantized.activations["relu"] = Params(3, false, {0.5f});
  return quantized;
}

// Asks for an interrupt at one reading.
class Interrupting : public Dataset {
 public:
  Interrupting(const Dataset& base, int at) : base_(base), at_(at) {}
  int64_t size() const override { return base_.size(); }
  ImageShape image_shape() const override { return base_.image_shape(); }
  const std::vector<std::string>& class_names() const override { return base_.class_names(); }
  absl::Status Get(int64_t index, uint8_t* chw, int32_t* label) const override {
    if (++reads_ == at_) RequestInterruptForTest();
    return base_.Get(index, chw, label);
  }

 private:
  const Dataset& base_;
  const int at_;
  mutable std::atomic<int> reads_{0};
};

SyntheticOptions SmallImages() {
  SyntheticOptions options;
  options.size = 200;
  options.shape = {3, 8, 8};
  options.num_classes = 4;
  options.noise = 60;
  return options;
}

class DistillerTest : public testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    dataset_ = MakeSyntheticDataset(SmallImages());
  }

  std::string Folder() {
    const auto folder = CreateUniqueDir(testing::TempDir() + "/distiller_test");
    EXPECT_TRUE(folder.ok()) << folder.status();
    return *folder;
  }

  // Learns from 160 images, ten steps an epoch, with the other 40 held out.
  DistillRequest Request(int epochs) {
    DistillRequest request;
    request.float_model = &model_;
    request.start = &start_;
    request.dataset = dataset_.get();
    for (int64_t i = 0; i < 160; ++i) request.learn.push_back((i * 7) % 200);
    for (int64_t i = 160; i < 200; ++i) request.hold_out.push_back((i * 7) % 200);
    request.config.set_epochs(epochs);
    request.config.set_batch_size(16);
    request.config.set_weight_rate(0.03);
    request.config.set_scale_rate(0.01);
    request.config.set_bias_rate(0.01);
    request.config.set_warmup_steps(5);
    request.config.set_temperature(1);
    request.config.mutable_augment()->set_crop_padding(1);
    SpellOutDistillDefaults(&request.config);
    request.seed = 11;
    request.directory = Folder();
    return request;
  }

  // The float network's logits, and the quantized one's.
  std::pair<at::Tensor, at::Tensor> Answers(const QuantizedModel& quantized, LoaderOptions options) {
    const auto teacher = Executor::Create(model_.graph, model_.parameters);
    const auto student = Executor::Create(quantized.graph, *FakeQuantParameters(quantized));
    FakeQuantHook hook(quantized);
    const auto loader = Loader::Create(dataset_.get(), std::move(options));
    std::vector<at::Tensor> wanted, got;
    for (auto batch = (*loader)->Next(); batch->has_value(); batch = (*loader)->Next()) {
      const at::Tensor images = ImagesTensor(**batch);
      wanted.push_back(*teacher->Forward(images));
      got.push_back(*student->Forward(images, &hook));
    }
    return {at::cat(wanted), at::cat(got)};
  }

  static AnswerChange Change(const std::pair<at::Tensor, at::Tensor>& answers) {
    AnswerChange change;
    EXPECT_TRUE(change.Add(answers.first, answers.second).ok());
    return change;
  }

  LoaderOptions HeldOutImages() {
    LoaderOptions options;
    options.order = Request(1).hold_out;
    return options;
  }

  AnswerChange HeldOut(const QuantizedModel& quantized) { return Change(Answers(quantized, HeldOutImages())); }

  static std::string Bytes(const QuantizedModel& model) { return *SerializeQuantizedModel(model); }

  const Model model_ = SmallModel();
  const QuantizedModel start_ = Quantized(model_);
  std::unique_ptr<Dataset> dataset_;
};

TEST_F(DistillerTest, AnswersComeCloserToTheFloatNetworks) {
  const auto result = Distill(Request(6));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->history.size(), 7u);
  EXPECT_LT(result->history.back().held_out_kl, 0.5 * result->history.front().held_out_kl);
  EXPECT_LT(result->history.back().train_loss, 0.7 * result->history[1].train_loss);
  // The numbers are those of the models. The last epoch is the result, though one before it measured better.
  double lowest = result->history.front().held_out_kl;
  for (int i = 0; i < 7; ++i) {
    const DistillEpoch& epoch = result->history[static_cast<size_t>(i)];
    EXPECT_EQ(epoch.epoch, i);
    lowest = std::min(lowest, epoch.held_out_kl);
  }
  EXPECT_LT(lowest, result->history.back().held_out_kl) << "the test shows nothing";
  constexpr int kLast = 6;
  EXPECT_EQ(result->epoch, kLast);
  const AnswerChange before = HeldOut(start_), after = HeldOut(result->model);
  EXPECT_NEAR(result->history[0].held_out_kl, before.kl(), 1e-5);
  EXPECT_EQ(result->history[0].held_out_same, before.same_top1());
  EXPECT_NEAR(result->history[kLast].held_out_kl, after.kl(), 1e-5);
  EXPECT_EQ(result->history[kLast].held_out_same, after.same_top1());
  // Everything was learned.
  EXPECT_NE(result->model.weights.at("conv").codes, start_.weights.at("conv").codes);
  EXPECT_NE(result->model.weights.at("fc").params, start_.weights.at("fc").params);
  EXPECT_NE(result->model.activations, start_.activations);
  EXPECT_FALSE(result->model.parameters.at("fc.bias") == start_.parameters.at("fc.bias"));
}

TEST_F(DistillerTest, LearnsInBFloat16) {
  if (!HasBFloat16(at::kCPU)) GTEST_SKIP() << "no AVX512-BF16 here";
  DistillRequest request = Request(6);
  request.config.set_feature_weight(1);
  const auto in_32_bits = Distill(request);
  ASSERT_TRUE(in_32_bits.ok()) << in_32_bits.status();
  request.config.set_bfloat16(true);
  request.directory = Folder();
  const auto result = Distill(request);
  ASSERT_TRUE(result.ok()) << result.status();
  // It is measured in 32 bits.
  EXPECT_EQ(result->history.front().held_out_kl, in_32_bits->history.front().held_out_kl);
  EXPECT_LT(result->history.back().held_out_kl, 0.5 * result->history.front().held_out_kl);
  EXPECT_NE(result->history[1].train_loss, in_32_bits->history[1].train_loss);
  EXPECT_NEAR(result->history[1].train_loss, in_32_bits->history[1].train_loss,
              0.05 * in_32_bits->history[1].train_loss);
}

// Adam moves a weight by no more than its rate in a step, ten of 0.01 here: not from the middle of a code to the next.
TEST_F(DistillerTest, HoldStartsInTheMiddleOfTheCodes) {
  DistillRequest request = Request(1);
  request.config.set_weight_rate(0.01);
  request.config.set_scale_rate(0);
  request.hold_out.clear();
  const auto from_float = Distill(request);
  ASSERT_TRUE(from_float.ok()) << from_float.status();
  EXPECT_NE(from_float->model.weights.at("conv").codes, start_.weights.at("conv").codes);
  request.config.set_hold(1);
  request.directory = Folder();
  const auto held = Distill(request);
  ASSERT_TRUE(held.ok()) << held.status();
  for (const char* layer : {"conv", "fc"}) {
    EXPECT_EQ(held->model.weights.at(layer).codes, start_.weights.at(layer).codes) << layer;
  }
}

// With weight_rate 0 codes stay as they are, whatever scales do; and so on.
TEST_F(DistillerTest, WhatHasNoRateStays) {
  DistillRequest request = Request(2);
  request.config.set_weight_rate(0);
  request.config.set_scale_rate(0.03);
  const auto codes = Distill(request);
  ASSERT_TRUE(codes.ok()) << codes.status();
  EXPECT_GT(codes->epoch, 0);
  for (const auto& [layer, weight] : start_.weights) {
    EXPECT_EQ(codes->model.weights.at(layer).codes, weight.codes);
    EXPECT_NE(codes->model.weights.at(layer).params, weight.params);
  }
  request = Request(2);
  request.config.set_scale_rate(0);
  request.config.set_bias_rate(0);
  const auto scales = Distill(request);
  ASSERT_TRUE(scales.ok()) << scales.status();
  EXPECT_GT(scales->epoch, 0);
  for (const auto& [layer, weight] : start_.weights) {
    EXPECT_NE(scales->model.weights.at(layer).codes, weight.codes);
    EXPECT_EQ(scales->model.weights.at(layer).params, weight.params);
  }
  EXPECT_EQ(scales->model.activations, start_.activations);
  EXPECT_TRUE(scales->model.parameters.at("fc.bias") == start_.parameters.at("fc.bias"));
}

// Divided by T, and times T^2: with a high temperature, half the squared distance of the logits, less their mean, per
// class.
TEST_F(DistillerTest, ATemperatureScalesTheLoss) {
  DistillRequest request = Request(1);
  request.config.set_batch_size(160);
  request.config.mutable_augment()->set_crop_padding(0);
  request.config.mutable_augment()->set_horizontal_flip(false);
  const auto cold = Distill(request);
  request.directory = Folder();
  request.config.set_temperature(100);
  const auto hot = Distill(request);
  ASSERT_TRUE(cold.ok() && hot.ok()) << cold.status() << hot.status();
  const auto half_squared_distance = [](const std::pair<at::Tensor, at::Tensor>& answers) {
    const at::Tensor difference = answers.second.sub(answers.first);
    return difference.sub(difference.mean(1, true)).square().mean().item<double>() / 2;
  };
  LoaderOptions options;
  options.order = request.learn;
  options.batch_size = 160;
  const auto learned = Answers(start_, options);
  const double expected = half_squared_distance(learned);
  EXPECT_NEAR(hot->history[1].train_loss, expected, 0.05 * expected);
  EXPECT_NEAR(cold->history[1].train_loss, Change(learned).kl(), 1e-4);
  // And so where it is measured.
  const auto held_out = Answers(start_, HeldOutImages());
  const double expected_held_out = half_squared_distance(held_out);
  EXPECT_NEAR(hot->history[0].held_out_kl, expected_held_out, 0.05 * expected_held_out);
  EXPECT_NEAR(cold->history[0].held_out_kl, Change(held_out).kl(), 1e-5);
  EXPECT_EQ(hot->history[0].held_out_same, cold->history[0].held_out_same);
}

TEST_F(DistillerTest, TheSameSeedGivesTheSameBytes) {
  const auto first = Distill(Request(2)), second = Distill(Request(2));
  DistillRequest request = Request(2);
  request.seed = 12;
  const auto other = Distill(request);
  ASSERT_TRUE(first.ok() && second.ok() && other.ok());
  EXPECT_EQ(Bytes(first->model), Bytes(second->model));
  EXPECT_NE(Bytes(first->model), Bytes(other->model));
}

// Both networks are shown the mixed images: the loss of the first step is that of the start on these. And so where it
// is measured, on the same mixtures each time.
TEST_F(DistillerTest, BothNetworksSeeTheMixedImages) {
  DistillRequest request = Request(1);
  request.config.set_batch_size(160);
  request.config.set_mixup(1);
  const auto mixed = Distill(request);
  ASSERT_TRUE(mixed.ok()) << mixed.status();
  LoaderOptions options;
  for (const int64_t i : ShuffledOrder(160, request.seed, 1)) {
    options.order.push_back(request.learn[static_cast<size_t>(i)]);
  }
  options.batch_size = 160;
  options.augment = ToAugmentOptions(request.config.augment());
  options.mixup = 1;
  options.seed = request.seed;
  options.epoch = 1;
  EXPECT_NEAR(mixed->history[1].train_loss, Change(Answers(start_, options)).kl(), 1e-4);
  // At least 512 mixtures, in batches of 250.
  LoaderOptions held_out = HeldOutImages();
  const std::vector<int64_t> once = held_out.order;
  for (int pass = 1; pass < 13; ++pass) held_out.order.insert(held_out.order.end(), once.begin(), once.end());
  held_out.batch_size = 250;
  held_out.mixup = 1;
  held_out.seed = request.seed;
  EXPECT_NEAR(mixed->history[0].held_out_kl, Change(Answers(start_, held_out)).kl(), 1e-5);
  EXPECT_GT(std::abs(mixed->history[0].held_out_kl - HeldOut(start_).kl()), 1e-4) << "not mixed";
}

// The relu's output is the one block's; with a weight so large that answers hardly count, the loss is its error.
TEST_F(DistillerTest, FeaturesCountAsMuchAsTheirWeight) {
  DistillRequest request = Request(1);
  request.config.set_batch_size(160);
  request.config.mutable_augment()->set_crop_padding(0);
  request.config.mutable_augment()->set_horizontal_flip(false);
  const auto answers = Distill(request);
  request.directory = Folder();
  request.config.set_feature_weight(10);
  const auto both = Distill(request);
  ASSERT_TRUE(answers.ok() && both.ok()) << answers.status() << both.status();

  LoaderOptions options;
  options.order = request.learn;
  options.batch_size = 160;
  const auto loader = Loader::Create(dataset_.get(), std::move(options));
  auto batch = (*loader)->Next();
  const at::Tensor images = ImagesTensor(**batch);
  class Relu : public LayerHook {
   public:
    at::Tensor OnOutput(int layer, at::Tensor y) override {
      if (layer == 2) output = y.clone();
      return y;
    }
    at::Tensor output;
  };
  Relu wanted, got;
  ASSERT_TRUE(Executor::Create(model_.graph, model_.parameters)->Forward(images, &wanted).ok());
  ASSERT_TRUE(Executor::Create(start_.graph, *FakeQuantParameters(start_))->Forward(images, &got).ok());
  const at::Tensor quantized = FakeQuantize(got.output, start_.activations.at("relu"));
  const double error =
      quantized.sub(wanted.output).square().sum().item<double>() / wanted.output.square().sum().item<double>();
  EXPECT_GT(error, 1e-3);
  EXPECT_NEAR(both->history[1].train_loss, answers->history[1].train_loss + 10 * error, 1e-3 * error);
}

TEST_F(DistillerTest, TheStartStaysWhereTheLastEpochIsNoCloser) {
  // (There is little to gain at 8 bits.)
  QuantizedModel start = Quantized(model_, 8);
  start.activations.clear();
  DistillRequest request = Request(2);
  request.start = &start;
  request.config.set_weight_rate(1);
  request.config.set_scale_rate(1);
  request.config.set_bias_rate(1);
  const auto result = Distill(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->epoch, 0);
  EXPECT_EQ(Bytes(result->model), Bytes(start));
  EXPECT_EQ(result->history.size(), 3u);
  EXPECT_GT(result->history[1].held_out_kl, result->history[0].held_out_kl);
}

TEST_F(DistillerTest, WithNoneHeldOutTheLastEpochCounts) {
  DistillRequest request = Request(2);
  request.hold_out.clear();
  const auto result = Distill(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->epoch, 2);
  // What is held out changes nothing of what is learned.
  EXPECT_EQ(Bytes(result->model), Bytes(Distill(Request(2))->model));
}

// ---- Stopping and going on ----

TEST_F(DistillerTest, GoingOnGivesTheSameBytes) {
  for (const bool codes_stay : {false, true}) {
    DistillRequest request = Request(4);
    request.config.set_mixup(0.8);
    request.config.set_feature_weight(0.5);
    if (codes_stay) request.config.set_weight_rate(0);
    const auto straight = Distill(request);
    ASSERT_TRUE(straight.ok()) << straight.status();
    const std::string straight_folder = request.directory;

    // The start reads the 40 images 13 times, each epoch 160 and then these; the loader runs some batches ahead. In the
    // third epoch.
    request.directory = Folder();
    const Interrupting interrupting(*dataset_, 200 + 520 + 2 * (160 + 520) + 130);
    request.dataset = &interrupting;
    EXPECT_FALSE(HasDistillCheckpoint(request.directory, request.name));
    EXPECT_EQ(Distill(request).status().code(), absl::StatusCode::kCancelled);
    ClearInterrupt();
    EXPECT_TRUE(HasDistillCheckpoint(request.directory, request.name));

    request.dataset = dataset_.get();
    request.resume = true;
    std::vector<int> told;
    request.on_epoch = [&](const DistillEpoch& epoch) {
      told.push_back(epoch.epoch);
      return absl::OkStatus();
    };
    const auto resumed = Distill(request);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_THAT(told, testing::ElementsAre(3, 4));
    EXPECT_EQ(Bytes(resumed->model), Bytes(straight->model));
    EXPECT_EQ(resumed->epoch, straight->epoch);
    ASSERT_EQ(resumed->history.size(), straight->history.size());
    for (size_t i = 0; i < resumed->history.size(); ++i) {
      EXPECT_EQ(resumed->history[i].train_loss, straight->history[i].train_loss);
      EXPECT_EQ(resumed->history[i].held_out_kl, straight->history[i].held_out_kl);
      EXPECT_EQ(resumed->history[i].held_out_same, straight->history[i].held_out_same);
    }
    // And of a finished one, which has nothing left to do.
    told.clear();
    request.directory = straight_folder;
    const auto finished = Distill(request);
    ASSERT_TRUE(finished.ok()) << finished.status();
    EXPECT_TRUE(told.empty());
    EXPECT_EQ(Bytes(finished->model), Bytes(straight->model));
  }
}

TEST_F(DistillerTest, AnErrorOfWhoeverIsToldEndsItAfterTheCheckpoint) {
  DistillRequest request = Request(3);
  const auto straight = Distill(request);
  request.directory = Folder();
  request.name = "second";
  request.on_epoch = [](const DistillEpoch& epoch) {
    return epoch.epoch == 1 ? absl::ResourceExhaustedError("disk full") : absl::OkStatus();
  };
  EXPECT_EQ(Distill(request).status(), absl::ResourceExhaustedError("disk full"));
  EXPECT_TRUE(HasDistillCheckpoint(request.directory, "second"));
  EXPECT_FALSE(HasDistillCheckpoint(request.directory, "distillation"));
  request.on_epoch = nullptr;
  request.resume = true;
  const auto resumed = Distill(request);
  ASSERT_TRUE(straight.ok() && resumed.ok()) << straight.status() << resumed.status();
  EXPECT_EQ(Bytes(resumed->model), Bytes(straight->model));
}

TEST_F(DistillerTest, ACheckpointOfAnotherDistillationIsRefused) {
  DistillRequest request = Request(1);
  ASSERT_TRUE(Distill(request).ok());
  request.resume = true;
  const auto refused = [&](const std::function<void(DistillRequest&)>& change) {
    DistillRequest other = request;
    change(other);
    const absl::Status status = Distill(other).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                StartsWith(absl::StrCat(request.directory,
                                        "/distillation.safetensors: made by another distillation, "
                                        "so going on would not be exact: ")));
    return std::string(status.message());
  };
  EXPECT_THAT(refused([](DistillRequest& r) { r.config.set_bias_rate(0.02); }),
              HasSubstr("\"bias_rate: 0.01\" there, \"bias_rate: 0.02\" here"));
  EXPECT_THAT(refused([](DistillRequest& r) { r.config.mutable_augment()->set_crop_padding(2); }),
              HasSubstr("crop_padding: 1\" there"));
  EXPECT_THAT(refused([](DistillRequest& r) { r.seed = 12; }), HasSubstr("\"seed: 11\" there, \"seed: 12\" here"));
  EXPECT_THAT(refused([](DistillRequest& r) { std::swap(r.learn[3], r.learn[4]); }),
              HasSubstr("\"images to learn from: 160, "));
  EXPECT_THAT(refused([](DistillRequest& r) { r.hold_out.pop_back(); }),
              AllOf(HasSubstr("\"images held out: 40, "), HasSubstr("\"images held out: 39, ")));
  EXPECT_THAT(refused([](DistillRequest& r) { r.normalization.mean[1] = 0.5f; }), HasSubstr("mean"));
  SyntheticOptions options = SmallImages();
  options.seed = 1;
  const auto other_images = MakeSyntheticDataset(options);
  EXPECT_THAT(refused([&](DistillRequest& r) { r.dataset = other_images.get(); }),
              HasSubstr("\"images to learn from: 160, "));
  Model other_model = model_;
  other_model.parameters["fc.bias"] = model_.parameters.at("fc.bias").add(1);
  EXPECT_THAT(refused([&](DistillRequest& r) { r.float_model = &other_model; }), HasSubstr("\"float network: "));
  QuantizedModel other_start = start_;
  other_start.activations["relu"].scale[0] *= 2;
  EXPECT_THAT(refused([&](DistillRequest& r) { r.start = &other_start; }), HasSubstr("\"quantized network: "));
}

TEST_F(DistillerTest, AFileThatIsNoCheckpointIsRefused) {
  DistillRequest request = Request(1);
  request.resume = true;
  const std::string path = request.directory + "/distillation.safetensors";
  ASSERT_TRUE(SaveParameters(path, model_.parameters).ok());
  EXPECT_EQ(Distill(request).status(),
            absl::InvalidArgumentError(absl::StrCat(path, ": is no checkpoint of a distillation")));
  ASSERT_TRUE(SaveParameters(path, model_.parameters, {{"lowbit.distillation", "{\"fingerprint\": 3}"}}).ok());
  EXPECT_THAT(std::string(Distill(request).status().message()),
              StartsWith(absl::StrCat(path, ": lowbit.distillation: ")));
}

TEST_F(DistillerTest, ALossThatIsNotFiniteIsAnError) {
  DistillRequest request = Request(1);
  Model broken = model_;
  broken.parameters["fc.weight"] = model_.parameters.at("fc.weight").mul(1e38);
  request.float_model = &broken;
  const absl::Status status = Distill(request).status();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), AllOf(StartsWith("the loss became "), HasSubstr("nan at step 0")));
}

// ---- Configs ----

TEST(DistillConfigTest, Defaults) {
  DistillConfig config;
  SpellOutDistillDefaults(&config);
  EXPECT_EQ(config.held_out_images(), 1000);
  EXPECT_TRUE(config.has_augment());
  EXPECT_EQ(CheckDistillConfig(config), absl::OkStatus());
  DistillConfig few;
  few.set_num_images(1024);
  SpellOutDistillDefaults(&few);
  EXPECT_EQ(few.held_out_images(), 128);
  DistillConfig fewest;
  fewest.set_num_images(3);
  SpellOutDistillDefaults(&fewest);
  EXPECT_EQ(fewest.held_out_images(), 1);
  DistillConfig own;
  own.set_num_images(1024);
  own.set_held_out_images(7);
  SpellOutDistillDefaults(&own);
  EXPECT_EQ(own.held_out_images(), 7);
}

TEST(DistillConfigTest, BFloat16WantsAProcessorThatHasIt) {
  DistillConfig config;
  SpellOutDistillDefaults(&config);
  config.set_bfloat16(true);
  const absl::Status status = CheckDistillConfig(config);
  if (HasBFloat16(at::kCPU)) {
    EXPECT_EQ(status, absl::OkStatus());
    return;
  }
  EXPECT_EQ(ErrorField(status), "bfloat16");
  EXPECT_EQ(std::string(status.message()),
            "this CPU has no bfloat16 arithmetic (AVX512-BF16); leave it out to compute in 32 bits");
}

struct BadConfig {
  const char* field;
  const char* message;
  std::function<void(DistillConfig&)> change;
};

class BadDistillConfigTest : public testing::TestWithParam<BadConfig> {};

TEST_P(BadDistillConfigTest, NamesTheField) {
  DistillConfig config;
  SpellOutDistillDefaults(&config);
  GetParam().change(config);
  const absl::Status status = CheckDistillConfig(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(status), GetParam().field);
  EXPECT_EQ(status.message(), GetParam().message);
}

using C = DistillConfig;
INSTANTIATE_TEST_SUITE_P(
    All, BadDistillConfigTest,
    testing::Values(
        BadConfig{"epochs", "must be at least 1, got 0", [](C& c) { c.set_epochs(0); }},
        BadConfig{"num_images", "must be at least 0, got -1", [](C& c) { c.set_num_images(-1); }},
        BadConfig{"batch_size", "must be at least 1, got 0", [](C& c) { c.set_batch_size(0); }},
        BadConfig{"weight_rate", "must be in [0, 1], got nan", [](C& c) { c.set_weight_rate(std::nan("")); }},
        BadConfig{"scale_rate", "must be in [0, 1], got 1.5", [](C& c) { c.set_scale_rate(1.5); }},
        BadConfig{"bias_rate", "must be in [0, 1], got -1", [](C& c) { c.set_bias_rate(-1); }},
        BadConfig{"weight_rate", "is 0 as scale_rate and bias_rate are, so there is nothing to learn",
                  [](C& c) {
                    c.set_weight_rate(0);
                    c.set_scale_rate(0);
                    c.set_bias_rate(0);
                  }},
        BadConfig{"hold", "must be in [0, 1], got 2", [](C& c) { c.set_hold(2); }},
        BadConfig{"warmup_steps", "must be at least 0, got -1", [](C& c) { c.set_warmup_steps(-1); }},
        BadConfig{"mixup", "must be in [0, 1], got 1.5", [](C& c) { c.set_mixup(1.5); }},
        BadConfig{"feature_weight", "must be in [0, 1e6], got -1", [](C& c) { c.set_feature_weight(-1); }},
        BadConfig{"temperature", "must be in [0.001, 1000], got 0", [](C& c) { c.set_temperature(0); }},
        BadConfig{"held_out_images", "must be at least 0, got -1", [](C& c) { c.set_held_out_images(-1); }}));

}  // namespace
}  // namespace lowbit
