#ifndef LOWBIT_MODEL_PASSES_BIAS_FLAG_H_
#define LOWBIT_MODEL_PASSES_BIAS_FLAG_H_

#include <variant>

#include "model/graph.h"

namespace lowbit {

// Of a Conv2d or a Linear: whether it has a bias, for a pass to set.
inline bool& BiasFlag(Op& op) {
  if (auto* conv = std::get_if<Conv2d>(&op)) return conv->bias;
  return std::get<Linear>(op).bias;
}

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PASSES_BIAS_FLAG_H_
