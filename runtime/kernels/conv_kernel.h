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
  int32_t shortcut_max_code = 0;  // where that holds codes
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

// v of a sum that is channel o of a pixel of the class `bias_class`, whose shortcut adds `shortcut`.
inline float ValueOf(const Epilogue& epilogue, int64_t bias_class, int64_t o, int32_t sum, int32_t patch_sum,
                     float shortcut) {
  const size_t channel = static_cast<size_t>(o);
  float v = static_cast<float>(sum) * epilogue.multiplier[channel];
  v = v + epilogue.bias[static_cast<size_t>(bias_class) * epilogue.multiplier.size() + channel];
  if (!epilogue.patch_multiplier.empty()) {
    const float patch = static_cast<float>(patch_sum) * epilogue.patch_multiplier[channel];
    v = v + patch;
  }
  if (epilogue.shortcut.tensor >= 0) {
    const float added = shortcut * epilogue.shortcut.multiplier;
    v = v + added;
  }
  return v;
}

// The code of v. NaN, which a broken shortcut of floats may bring in, becomes `lower`.
inline uint8_t CodeOf(const Epilogue& epilogue, float v) {
  return static_cast<uint8_t>(std::nearbyint(std::min(std::max(epilogue.lower, v), epilogue.upper)));
}

// Writes channel o of output pixel (y, x).
inline void FinishOne(const ConvProblem& problem, const ConvBuffers& buffers, int64_t y, int64_t x, int64_t o,
                      int32_t sum, int32_t patch_sum) {
  const Epilogue& epilogue = problem.op->epilogue;
  const float shortcut = epilogue.shortcut.tensor < 0 ? 0 : ShortcutValue(problem, buffers.shortcut, y, x, o);
  const float v = ValueOf(epilogue, problem.op->BiasClass(y, x), o, sum, patch_sum, shortcut);
  const TensorLayout& layout = problem.output_layout;
  const int64_t at = layout.offset + y * layout.row + x * layout.pixel + o;
  if (layout.is_codes) {
    static_cast<uint8_t*>(buffers.output)[at] = CodeOf(epilogue, v);
  } else {
    static_cast<float*>(buffers.output)[at] = std::max(epilogue.lower, v);
  }
}

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_CONV_KERNEL_H_
