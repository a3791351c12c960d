#ifndef LOWBIT_TRAIN_TRAIN_DEFAULTS_H_
#define LOWBIT_TRAIN_TRAIN_DEFAULTS_H_

#include "train/train_config.pb.h"

namespace lowbit {

// Puts in the messages that a config without them stands for: SGD, the cosine schedule, the augmentation, each with its
// own defaults. (The defaults of plain fields are in the .proto file.)
void SpellOutTrainDefaults(TrainConfig* config);

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_TRAIN_DEFAULTS_H_
