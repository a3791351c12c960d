#include "train/ema.h"

#include <ATen/ops/lerp.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace lowbit {

void UpdateAverage(const ParameterMap& parameters, double decay, int64_t step, ParameterMap& average) {
  const c10::AutoGradMode no_gradients(false);
  const double warm = (1.0 + static_cast<double>(step)) / (10.0 + static_cast<double>(step));
  const double weight = 1.0 - std::min(decay, warm);
  for (auto& [name, mean] : average) mean.lerp_(parameters.at(name), weight);
}

}  // namespace lowbit
