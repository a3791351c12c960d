#include "train/train_defaults.h"

namespace lowbit {

void SpellOutTrainDefaults(TrainConfig* config) {
  if (config->optimizer_case() == TrainConfig::OPTIMIZER_NOT_SET) config->mutable_sgd();
  if (config->schedule_case() == TrainConfig::SCHEDULE_NOT_SET) config->mutable_cosine();
  config->mutable_augment();
}

}  // namespace lowbit
