#ifndef LOWBIT_BENCHMARKS_QUANTIZED_NETWORK_H_
#define LOWBIT_BENCHMARKS_QUANTIZED_NETWORK_H_

#include "model/parameters.h"
#include "quant/quantized_model.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {

// Networks with random weights, as benchmarks want them: what they compute is of no use, but it takes its time.

struct Widths {
  int weights = 8;
  int activations = 8;
  int ends = 8;  // of the first convolution and the last linear layer
};

// `folded` with all weights, and the tensors that they read, quantized; its ranges are those of random images.
QuantizedModel QuantizeForBenchmark(const Model& folded, const Widths& widths);

// In LibTorch's 8-bit operators.
TorchInt8Model TorchInt8ForBenchmark(const Model& folded, const std::string& engine);

}  // namespace lowbit

#endif  // LOWBIT_BENCHMARKS_QUANTIZED_NETWORK_H_
