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

// in -> conv1 -> relu1 -> conv2 -> relu2 -> conv3 -> add(relu1) -> relu3 -> pool -> flatten -> fc, of images [3, 6, 6];
// `groups` are those of conv2 and conv3.
inline Graph SmallResidualGraph(int64_t channels, int64_t classes, int64_t groups = 1) {
  Conv2d first{3, channels, {3, 3}}, next{channels, channels, {3, 3}};
  first.padding = next.padding = {1, 1};
  first.bias = next.bias = true;
  next.groups = groups;
  return Make({{"in", Input{3, 6, 6}, {}},
               {"conv1", first, {0}},
               {"relu1", Relu{}, {1}},
               {"conv2", next, {2}},
               {"relu2", Relu{}, {3}},
               {"conv3", next, {4}},
               {"add", Add{}, {5, 2}},
               {"relu3", Relu{}, {6}},
               {"pool", GlobalAvgPool{}, {7}},
               {"flatten", Flatten{}, {8}},
               {"fc", Linear{channels, classes}, {9}}});
}

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
