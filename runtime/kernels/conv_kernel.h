#ifndef LOWBIT_RUNTIME_KERNELS_CONV_KERNEL_H_
#define LOWBIT_RUNTIME_KERNELS_CONV_KERNEL_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>

#include "runtime/plan.h"
#include "runtime/tensor_layout.h"

namespace lowbit {

// A ConvOp with all that is known of it before an image comes. It outlives the kernels that are made for it.
struct ConvProblem {
  const ConvOp* op = nullptr;
  const PlanTensor* input = nullptr;
  const PlanTensor* output = nullptr;
  TensorLayout input_layout, output_layout;
  TensorLayout shortcut_layout;  // where there is one
  int64_t shortcut_channels = 0;
};

// Pointers to the start of the tensors' memory, where TensorLayout::offset counts from.
struct ConvBuffers {
  const uint8_t* input = nullptr;
  void* output = nullptr;          // bytes or floats
  const void* shortcut = nullptr;  // likewise
  uint8_t* scratch = nullptr;      // of scratch_bytes(), aligned to 64
};

// One way to compute a ConvOp, its weights laid out for it. All give the same bits as the reference. Const, so that
// several threads may use one.
class ConvKernel {
 public:
  virtual ~ConvKernel() = default;

  // "avx2 bytes": the processor that it is for, and how it multiplies.
  virtual const char* name() const = 0;

  virtual int64_t scratch_bytes() const { return 0; }

  // The output rows [begin, end).
  virtual void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const = 0;
};

// ---- The end of every kernel, one number at a time: Epilogue in runtime/plan.h ----

// The number of the shortcut that is added at output pixel (y, x), or 0 where it has no such channel.
inline float ShortcutValue(const ConvProblem& problem, const void* shortcut, int64_t y, int64_t x, int64_t o) {
  const Shortcut& from = problem.op->epilogue.shortcut;
  const int64_t channel = o - from.before;
  if (channel < 0 || channel >= problem.shortcut_channels) return 0;
  const TensorLayout& layout = problem.shortcut_layout;
  const int64_t at = layout.offset + y * from.stride[0] * layout.row + x * from.stride[1] * layout.pixel + channel;
  return layout.is_codes ? static_cast<float>(static_cast<const uint8_t*>(shortcut)[at])
                         : static_cast<const float*>(shortcut)[at];
}

// Writes channel o of output pixel (y, x).
inline void FinishOne(const ConvProblem& problem, const ConvBuffers& buffers, int64_t y, int64_t x, int64_t o,
                      int32_t sum, int32_t patch_sum) {
  const Epilogue& epilogue = problem.op->epilogue;
  const size_t channel = static_cast<size_t>(o);
  const size_t channels = epilogue.multiplier.size();
  const size_t bias_class = static_cast<size_t>(problem.op->BiasClass(y, x));
  float v = static_cast<float>(sum) * epilogue.multiplier[channel];
  v = v + epilogue.bias[bias_class * channels + channel];
  if (!epilogue.patch_multiplier.empty()) {
    const float patch = static_cast<float>(patch_sum) * epilogue.patch_multiplier[channel];
    v = v + patch;
  }
  if (epilogue.shortcut.tensor >= 0) {
    const float shortcut = ShortcutValue(problem, buffers.shortcut, y, x, o) * epilogue.shortcut.multiplier;
    v = v + shortcut;
  }
  const TensorLayout& layout = problem.output_layout;
  const int64_t at = layout.offset + y * layout.row + x * layout.pixel + o;
  // NaN, which a broken shortcut of floats may bring in, becomes `lower`.
  if (layout.is_codes) {
    const float clamped = std::min(std::max(epilogue.lower, v), epilogue.upper);
    static_cast<uint8_t*>(buffers.output)[at] = static_cast<uint8_t>(std::nearbyint(clamped));
  } else {
    static_cast<float*>(buffers.output)[at] = std::max(epilogue.lower, v);
  }
}

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_CONV_KERNEL_H_
