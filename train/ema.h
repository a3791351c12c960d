#ifndef LOWBIT_TRAIN_EMA_H_
#define LOWBIT_TRAIN_EMA_H_

#include <cstdint>

#include "model/parameters.h"

namespace lowbit {

// average = decay * average + (1 - decay) * parameters, in place, for weights and running statistics alike.
// Early on `decay` is held to (1 + step) / (10 + step), so that the random start is forgotten. Both maps have the same
// names and shapes.
void UpdateAverage(const ParameterMap& parameters, double decay, int64_t step, ParameterMap& average);

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_EMA_H_
