#ifndef LOWBIT_RUNTIME_KERNELS_WINDOW_H_
#define LOWBIT_RUNTIME_KERNELS_WINDOW_H_

#include <cstdint>
#include <vector>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/conv_kernel.h"

namespace lowbit {

// What a window of a convolution without groups reads, as steps of `step_bytes` neighbouring bytes. Where the dilation
// is 1, a row of the window is one run of bytes, pixels being read with what fills them up to a multiple of 4 channels;
// a run's last step may reach beyond it, into what no weight is multiplied with.
struct Window {
  std::vector<int64_t> offsets;  // of each step, from the window's first byte

  // Of each byte of all steps: the weight that it is multiplied with, an index into [kernel h, kernel w, in_channels];
  // -1: none.
  std::vector<int64_t> weight_of;

  int64_t steps() const { return static_cast<int64_t>(offsets.size()); }
};

Window MakeWindow(const ConvProblem& problem, int64_t step_bytes);

// The weights for blocks of `block` output channels, [block of channels, round, channel of the block, `round` codes]: a
// round is `round` neighbouring codes of the window. 0 where there is no weight.
template <typename T>
AlignedVector<T> LayOutWeights(const ConvProblem& problem, const Window& window, int64_t block, int64_t round) {
  const int64_t outputs = problem.op->geometry.out_channels;
  const int64_t row = static_cast<int64_t>(problem.op->weight.size()) / outputs;
  const int64_t codes = static_cast<int64_t>(window.weight_of.size());
  AlignedVector<T> weights(static_cast<size_t>((outputs + block - 1) / block * block * codes));
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t k = 0; k < codes; ++k) {
      const int64_t from = window.weight_of[static_cast<size_t>(k)];
      if (from < 0) continue;
      const int64_t at = (o / block * (codes / round) + k / round) * block + o % block;
      weights[static_cast<size_t>(at * round + k % round)] = problem.op->weight[static_cast<size_t>(o * row + from)];
    }
  }
  return weights;
}

// The first byte of the window of output pixel (y, x), from the start of the tensor's memory.
inline int64_t WindowStart(const ConvProblem& problem, int64_t y, int64_t x) {
  const Conv2d& g = problem.op->geometry;
  const TensorLayout& layout = problem.input_layout;
  return layout.offset + (y * g.stride[0] - g.padding[0]) * layout.row +
         (x * g.stride[1] - g.padding[1]) * layout.pixel;
}

// The first row, counted with those of the border, that windows of the output row y read, and how many rows those of
// `count` output rows read.
inline int64_t FirstRowRead(const ConvProblem& problem, int64_t y) {
  const Conv2d& g = problem.op->geometry;
  return problem.input_layout.offset / problem.input_layout.row + y * g.stride[0] - g.padding[0];
}
inline int64_t RowsRead(const ConvProblem& problem, int64_t count) {
  const Conv2d& g = problem.op->geometry;
  return (count - 1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1;
}

// ---- As many groups as input and as output channels: each channel has its own window ----

inline bool IsDepthwise(const ConvProblem& problem) {
  const Conv2d& g = problem.op->geometry;
  return g.groups > 1 && g.groups == g.in_channels && g.groups == g.out_channels;
}

// Of each tap, from the window's first byte.
std::vector<int64_t> TapOffsets(const ConvProblem& problem);

// The weights for blocks of `block` channels, [block of channels, tap, channel of the block].
AlignedVector<int32_t> LayOutDepthwiseWeights(const ConvProblem& problem, int64_t block);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_WINDOW_H_
