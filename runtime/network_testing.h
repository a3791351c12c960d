#ifndef LOWBIT_RUNTIME_NETWORK_TESTING_H_
#define LOWBIT_RUNTIME_NETWORK_TESTING_H_

// Small quantized networks with random weights, for tests of the runtime.

#include <cstdint>
#include <string>
#include <vector>

#include "quant/quantized_model.h"

namespace lowbit {

// One of each kind of step that the planner knows:
//
//   residual    3x3 convolutions of symmetric weights, an option-A shortcut, ReLU, mean, linear; 4 bits
//   affine      weights and activations with zero points, padding, a depthwise and a dilated convolution; 8 bits
//   levels      grids that are not uniform: levels, bases, 16-bit activations
//   binary      weights and activations of 1 bit
//   float       batch norm, pooling, a float convolution, a linear layer that reads pixels
const std::vector<std::string>& TinyModelKinds();

// Takes images of [3, 8, 8] and puts out 5 numbers. The same kind gives the same model.
QuantizedModel TinyModel(const std::string& kind);

// The model's file.
std::string TinyModelBytes(const std::string& kind);

// `count` random images for it.
std::vector<float> TinyImages(int64_t count, uint64_t seed);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_NETWORK_TESTING_H_
