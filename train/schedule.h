#ifndef LOWBIT_TRAIN_SCHEDULE_H_
#define LOWBIT_TRAIN_SCHEDULE_H_

#include <cstdint>

#include "train/train_config.pb.h"

namespace lowbit {

// The learning rate of step `step` (from 0) out of `steps_per_epoch * config.epochs()`.
// Every schedule is a function of the step alone, so a resumed run needs no schedule state.
double LearningRate(const TrainConfig& config, int64_t step, int64_t steps_per_epoch);

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_SCHEDULE_H_
