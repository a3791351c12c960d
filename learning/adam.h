#ifndef LOWBIT_LEARNING_ADAM_H_
#define LOWBIT_LEARNING_ADAM_H_

#include <cstdint>

#include "train/optimizer.h"

namespace lowbit {

// Adam (Kingma and Ba 2015, arXiv 1412.6980) with its usual constants and without weight decay, for train/optimizer.h.
TrainConfig PlainAdam();

// From 1 to 0 along half a cosine.
double CosineFactor(int64_t step, int64_t steps);

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_ADAM_H_
