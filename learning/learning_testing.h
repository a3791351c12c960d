#ifndef LOWBIT_LEARNING_LEARNING_TESTING_H_
#define LOWBIT_LEARNING_LEARNING_TESTING_H_

// What tests of learning networks start from.

#include <cstdint>
#include <utility>
#include <vector>

#include "model/model_testing.h"
#include "model/parameters.h"
#include "quant/quant_params.h"

namespace lowbit {

// The graph with normal numbers times `factor` for all of its parameters.
inline Model RandomModel(Graph graph, uint64_t seed, double factor) {
  ParameterMap parameters;
  for (const Layer& layer : graph.layers()) {
    for (const auto& [name, shape] : ParameterShapes(layer.op)) {
      parameters[ParameterName(layer.name, name)] = Random(shape, ++seed).mul(factor);
    }
  }
  return {std::move(graph), std::move(parameters)};
}

// A uniform grid without a zero point.
inline QuantParams Params(int bits, bool is_signed, std::vector<float> scale) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.zero_point.assign(scale.size(), 0);
  params.scale = std::move(scale);
  return params;
}

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_LEARNING_TESTING_H_
