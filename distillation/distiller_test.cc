#include "distillation/distiller.h"

#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/field_error.h"
#include "base/file.h"
#include "data/in_memory_dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learning/learning_testing.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

std::string Bytes(const QuantizedModel& model) { return SerializeQuantizedModel(model).value_or("?"); }

class DistillTest : public testing::Test {
 protected:
  DistillTest() : model_(SmallImageModel()), start_(RoundToNearest(model_, 2)) {
    SyntheticOptions images;
    images.size = 160;
    images.num_classes = 3;
    dataset_ = MakeSyntheticDataset(images);
    request_.float_model = &model_;
    request_.start = &start_;
    request_.dataset = dataset_.get();
    request_.learn.resize(128);
    std::iota(request_.learn.begin(), request_.learn.end(), 0);
    request_.hold_out.resize(32);
    std::iota(request_.hold_out.begin(), request_.hold_out.end(), 128);
    request_.config.set_epochs(4);
    request_.config.set_batch_size(32);
    request_.config.set_warmup_steps(2);
    request_.config.set_scale_rate(0.01);
    request_.config.set_bias_rate(0.01);
    request_.config.set_weight_rate(0.05);
    SpellOutDistillDefaults(&request_.config);
    const auto folder = CreateUniqueDir(testing::TempDir() + "/distill");
    request_.directory = *folder;
  }

  // SmallResidualModel for colour images of 32 by 32.
  static Model SmallImageModel() {
    const Model small = SmallResidualModel();
    std::vector<Layer> layers = small.graph.layers();
    layers[0].op = Input{3, 32, 32};
    std::get<Conv2d>(layers[1].op).in_channels = 3;
    ParameterMap parameters = small.parameters;
    parameters["stem.weight"] = Random({6, 3, 3, 3}, 70).mul(0.3);
    return {Make(std::move(layers)), std::move(parameters)};
  }

  Model model_;
  QuantizedModel start_;
  std::unique_ptr<Dataset> dataset_;
  DistillRequest request_;
};

TEST_F(DistillTest, ComesCloserToTheFloatNetwork) {
  const auto result = Distill(request_);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->history.size(), 5u);
  EXPECT_GT(result->best_epoch, 0);
  const double best = result->history[static_cast<size_t>(result->best_epoch)].held_out_kl;
  EXPECT_LT(best, 0.7 * result->history[0].held_out_kl);
  for (const DistillEpoch& epoch : result->history) EXPECT_GE(epoch.held_out_kl, best);
  EXPECT_FALSE(Bytes(result->model) == Bytes(start_));
  EXPECT_TRUE(CheckQuantizedModel(result->model).ok());
}

TEST_F(DistillTest, ScalesAndBiasesAloneLeaveTheCodes) {
  request_.config.set_weight_rate(0);
  const auto result = Distill(request_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->best_epoch, 0);
  for (const auto& [layer, weight] : result->model.weights) EXPECT_TRUE(weight.codes == start_.weights.at(layer).codes);
}

TEST_F(DistillTest, StoppingAndGoingOnEqualsNotStopping) {
  const auto whole = Distill(request_);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (const int stop : {1, 3}) {
    request_.directory = *CreateUniqueDir(testing::TempDir() + "/stopped");
    request_.resume = false;
    EXPECT_FALSE(HasDistillCheckpoint(request_.directory, request_.name));
    request_.on_epoch = [&](const DistillEpoch& epoch) {
      return epoch.epoch == stop ? absl::CancelledError("stop") : absl::OkStatus();
    };
    EXPECT_TRUE(absl::IsCancelled(Distill(request_).status()));
    EXPECT_TRUE(HasDistillCheckpoint(request_.directory, request_.name));
    request_.on_epoch = nullptr;
    request_.resume = true;
    const auto resumed = Distill(request_);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_TRUE(Bytes(resumed->model) == Bytes(whole->model)) << stop;
    ASSERT_EQ(resumed->history.size(), 5u);
    EXPECT_EQ(resumed->history[4].held_out_kl, whole->history[4].held_out_kl) << stop;
  }
}

TEST_F(DistillTest, TheStartStaysIfNoEpochIsBetter) {
  request_.config.set_weight_rate(1);
  request_.config.set_bias_rate(1);
  request_.config.set_scale_rate(1);
  request_.config.set_epochs(1);
  const auto result = Distill(request_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->best_epoch, 0);
  EXPECT_TRUE(Bytes(result->model) == Bytes(start_));
}

TEST_F(DistillTest, ACheckpointOfAnotherDistillationIsRefused) {
  ASSERT_TRUE(Distill(request_).ok());
  request_.resume = true;
  const auto message = [&] { return std::string(Distill(request_).status().message()); };
  request_.seed = 5;
  EXPECT_THAT(message(), HasSubstr("\"seed: 0\" there, \"seed: 5\" here"));
  request_.seed = 0;
  request_.config.set_epochs(9);
  EXPECT_THAT(message(), HasSubstr("\"epochs: 4\" there, \"epochs: 9\" here"));
  request_.config.set_epochs(4);
  const QuantizedModel other = RoundToNearest(model_, 3);
  request_.start = &other;
  EXPECT_THAT(message(), HasSubstr("quantized network"));
  request_.start = &start_;
  ASSERT_TRUE(WriteFileAtomic(request_.directory + "/distillation.safetensors", "x").ok());
  EXPECT_THAT(message(), HasSubstr("distillation.safetensors"));
}

TEST(DistillConfigTest, ErrorsNameTheField) {
  const auto field = [](void (*change)(DistillConfig*)) {
    DistillConfig config;
    change(&config);
    SpellOutDistillDefaults(&config);
    return ErrorField(CheckDistillConfig(config)).value_or("none");
  };
  EXPECT_EQ(field([](DistillConfig*) {}), "none");
  EXPECT_EQ(field([](DistillConfig* c) { c->set_epochs(0); }), "epochs");
  EXPECT_EQ(field([](DistillConfig* c) { c->set_batch_size(0); }), "batch_size");
  EXPECT_EQ(field([](DistillConfig* c) { c->set_weight_rate(2); }), "weight_rate");
  EXPECT_EQ(field([](DistillConfig* c) { c->set_temperature(0); }), "temperature");
  EXPECT_EQ(field([](DistillConfig* c) { c->set_held_out_images(0); }), "held_out_images");
  EXPECT_EQ(field([](DistillConfig* c) {
              c->set_weight_rate(0);
              c->set_scale_rate(0);
              c->set_bias_rate(0);
            }),
            "weight_rate");
}

}  // namespace
}  // namespace lowbit
