#include "learning/adam.h"

#include <cmath>

namespace lowbit {

TrainConfig PlainAdam() {
  TrainConfig config;
  config.mutable_adam();
  config.set_weight_decay(0);
  return config;
}

double CosineFactor(int64_t step, int64_t steps) {
  constexpr double kPi = 3.14159265358979323846;
  return 0.5 * (1 + std::cos(kPi * static_cast<double>(step) / static_cast<double>(steps)));
}

}  // namespace lowbit
