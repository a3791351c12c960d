#ifndef LOWBIT_TRAIN_AUGMENT_OPTIONS_H_
#define LOWBIT_TRAIN_AUGMENT_OPTIONS_H_

#include "data/augment.h"
#include "train/train_config.pb.h"

namespace lowbit {

AugmentOptions ToAugmentOptions(const AugmentConfig& config);

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_AUGMENT_OPTIONS_H_
