#ifndef LOWBIT_RUNTIME_KERNELS_WINDOW_H_
#define LOWBIT_RUNTIME_KERNELS_WINDOW_H_

#include <cstdint>
#include <vector>

#include "runtime/kernels/conv_kernel.h"

namespace lowbit {

// What a window of a convolution without groups reads, as runs of neighbouring bytes: where the dilation is 1, a row of
// the window is one run. Pixels are read with the bytes that fill them up to a multiple of 4.
struct Window {
  struct Run {
    int64_t offset = 0;  // from the window's first byte
    int64_t bytes = 0;
  };
  std::vector<Run> runs;

  // Of each byte of all runs: the weight that it is multiplied with, an index into [kernel h, kernel w, in_channels];
  // -1: none.
  std::vector<int64_t> weight_of;

  int64_t size() const { return static_cast<int64_t>(weight_of.size()); }
};

Window MakeWindow(const ConvProblem& problem);

// The first byte of the window of output pixel (y, x), from the start of the tensor's memory.
inline int64_t WindowStart(const ConvProblem& problem, int64_t y, int64_t x) {
  const Conv2d& g = problem.op->geometry;
  const TensorLayout& layout = problem.input_layout;
  return layout.offset + (y * g.stride[0] - g.padding[0]) * layout.row +
         (x * g.stride[1] - g.padding[1]) * layout.pixel;
}

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_WINDOW_H_
