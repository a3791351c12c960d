#ifndef LOWBIT_LEARNING_LEARNING_TESTING_H_
#define LOWBIT_LEARNING_LEARNING_TESTING_H_

// What tests of learning start from: a small residual network, quantized to the nearest codes.

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "model/model_testing.h"
#include "model/parameters.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"

namespace lowbit {

// stem -> relu0 -> (conv1 -> relu1 -> conv2, + relu0) -> relu2 -> pool -> flat -> fc, images [2, 8, 8], 3 classes.
inline Model SmallResidualModel(uint64_t seed = 1) {
  const auto conv = [](int64_t in, int64_t out) {
    Conv2d op{in, out, {3, 3}};
    op.padding = {1, 1};
    op.bias = true;
    return op;
  };
  Graph graph = Make({{"x", Input{2, 8, 8}, {}},
                      {"stem", conv(2, 6), {0}},
                      {"relu0", Relu{}, {1}},
                      {"conv1", conv(6, 6), {2}},
                      {"relu1", Relu{}, {3}},
                      {"conv2", conv(6, 6), {4}},
                      {"add", Add{}, {5, 2}},
                      {"relu2", Relu{}, {6}},
                      {"pool", GlobalAvgPool{}, {7}},
                      {"flat", Flatten{}, {8}},
                      {"fc", Linear{6, 3}, {9}}});
  ParameterMap parameters;
  for (const Layer& layer : graph.layers()) {
    for (const auto& [name, shape] : ParameterShapes(layer.op)) {
      parameters[ParameterName(layer.name, name)] = Random(shape, ++seed).mul(name == "bias" ? 0.1 : 0.3);
    }
  }
  return {std::move(graph), std::move(parameters)};
}

// All weights at `bits`, symmetric with a scale for each output channel, rounded to the nearest code; the activations
// of all relus, unsigned.
inline QuantizedModel RoundToNearest(const Model& model, int bits) {
  auto quantized = ToQuantizedModel(model);
  EXPECT_TRUE(quantized.ok()) << quantized.status();
  for (const Layer& layer : model.graph.layers()) {
    if (!HasWeight(layer.op)) continue;
    const at::Tensor weight = model.parameters.at(ParameterName(layer.name, "weight"));
    const at::Tensor largest = weight.abs().flatten(1).amax(1).contiguous();
    QuantParams params;
    params.bits = bits;
    for (int64_t c = 0; c < largest.numel(); ++c) {
      params.scale.push_back(largest.data_ptr<float>()[c] / (static_cast<float>(params.qmax()) + 0.5f));
    }
    params.zero_point.assign(params.scale.size(), 0.0f);
    const QuantizedTensor tensor{params, Quantize(weight, params)};
    EXPECT_TRUE(SetWeight(layer.name, tensor, &*quantized).ok());
  }
  for (const char* relu : {"relu0", "relu1", "relu2"}) {
    QuantParams params;
    params.bits = bits;
    params.is_signed = false;
    params.scale = {3.0f / static_cast<float>(params.qmax())};
    params.zero_point = {0};
    quantized->activations[relu] = params;
  }
  return *std::move(quantized);
}

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_LEARNING_TESTING_H_
