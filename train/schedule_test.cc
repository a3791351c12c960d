#include "train/schedule.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TrainConfig Config(int epochs, double learning_rate) {
  TrainConfig config;
  config.set_epochs(epochs);
  config.set_learning_rate(learning_rate);
  return config;
}

TEST(ScheduleTest, ConstantStaysWhereItIs) {
  TrainConfig config = Config(2, 0.25);
  config.mutable_constant();
  EXPECT_EQ(LearningRate(config, 0, 10), 0.25);
  EXPECT_EQ(LearningRate(config, 19, 10), 0.25);
}

TEST(ScheduleTest, CosineWithoutWarmUpStartsAtThePeakAndIsHalfInTheMiddle) {
  TrainConfig config = Config(2, 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(config, 0, 10), 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(config, 10, 10), 0.25);
  // 0.25 * (1 + cos(pi * 19 / 20))
  EXPECT_NEAR(LearningRate(config, 19, 10), 0.003077914851215585, 1e-15);
}

TEST(ScheduleTest, CosineWarmsUpInAStraightLine) {
  TrainConfig config = Config(4, 1.0);
  config.mutable_cosine()->set_warmup_epochs(1);
  config.mutable_cosine()->set_final_factor(0.1);
  EXPECT_DOUBLE_EQ(LearningRate(config, 0, 9), 0.1);
  EXPECT_DOUBLE_EQ(LearningRate(config, 4, 9), 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(config, 9, 9), 1.0);
  // 13.5 of the 27 steps after the warm-up would be the middle: 0.55.
  EXPECT_NEAR(0.5 * (LearningRate(config, 22, 9) + LearningRate(config, 23, 9)), 0.55, 1e-12);
}

TEST(ScheduleTest, OneCycleRisesToThePeakAndEndsFarBelowItsStart) {
  TrainConfig config = Config(10, 0.1);
  config.mutable_one_cycle()->set_warmup_fraction(0.25);
  config.mutable_one_cycle()->set_initial_divisor(10);
  config.mutable_one_cycle()->set_final_divisor(100);
  EXPECT_DOUBLE_EQ(LearningRate(config, 0, 10), 0.01);
  EXPECT_DOUBLE_EQ(LearningRate(config, 25, 10), 0.1);
  EXPECT_NEAR(LearningRate(config, 99, 10), 0.0001, 1e-15);
  for (int step = 1; step < 100; ++step) {
    const double change = LearningRate(config, step, 10) - LearningRate(config, step - 1, 10);
    EXPECT_TRUE(step <= 25 ? change > 0 : change < 0) << step;
  }
}

}  // namespace
}  // namespace lowbit
