#ifndef LOWBIT_RUNTIME_PLAIN_OPS_H_
#define LOWBIT_RUNTIME_PLAIN_OPS_H_

#include <cstdint>

#include "runtime/plan.h"
#include "runtime/tensor_layout.h"

namespace lowbit {

// A tensor of an image that is being computed.
struct TensorRef {
  const PlanTensor* tensor = nullptr;
  TensorLayout layout;
  uint8_t* memory = nullptr;  // codes or floats; layout.offset counts from here

  int64_t At(int64_t y, int64_t x) const { return layout.offset + y * layout.row + x * layout.pixel; }
  uint8_t* codes() const { return memory; }
  float* floats() const { return reinterpret_cast<float*>(memory); }

  // What stands there, in real numbers.
  float Read(int64_t y, int64_t x, int64_t c) const {
    const int64_t at = At(y, x) + c;
    if (!layout.is_codes) return floats()[at];
    return (static_cast<float>(codes()[at]) - tensor->zero_point) * tensor->scale;
  }

  // Puts a real number there: as the code that is nearest, or on the grid, where the tensor has one.
  void Write(int64_t y, int64_t x, int64_t c, float value) const;
};

// The operations that are not integer convolutions: runtime/plan.h. `inputs` are those of the operation, in its order.
void RunPlain(const PlainOp& op, const TensorRef* inputs, const TensorRef& output);
void RunFloatConv(const FloatConvOp& op, const TensorRef& input, const TensorRef& output);
void RunGlobalMean(const GlobalMeanOp& op, const TensorRef& input, const TensorRef& output);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_PLAIN_OPS_H_
