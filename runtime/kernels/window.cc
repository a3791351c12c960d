#include "runtime/kernels/window.h"

namespace lowbit {

Window MakeWindow(const ConvProblem& problem, int64_t step_bytes) {
  const Conv2d& g = problem.op->geometry;
  const TensorLayout& layout = problem.input_layout;
  // Pixels of a row of the window that follow each other in memory.
  const int64_t run_pixels = g.dilation[1] == 1 ? g.kernel[1] : 1;
  Window window;
  for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
    for (int64_t kx = 0; kx < g.kernel[1]; kx += run_pixels) {
      const int64_t start = ky * g.dilation[0] * layout.row + kx * g.dilation[1] * layout.pixel;
      const int64_t bytes = run_pixels * layout.pixel;
      for (int64_t step = 0; step < bytes; step += step_bytes) {
        window.offsets.push_back(start + step);
        for (int64_t i = step; i < step + step_bytes; ++i) {
          const int64_t channel = i % layout.pixel;
          const bool has_weight = i < bytes && channel < g.in_channels;
          const int64_t tap = ky * g.kernel[1] + kx + i / layout.pixel;
          window.weight_of.push_back(has_weight ? tap * g.in_channels + channel : -1);
        }
      }
    }
  }
  return window;
}

std::vector<int64_t> TapOffsets(const ConvProblem& problem) {
  const Conv2d& g = problem.op->geometry;
  const TensorLayout& layout = problem.input_layout;
  std::vector<int64_t> offsets;
  for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
    for (int64_t kx = 0; kx < g.kernel[1]; ++kx) {
      offsets.push_back(ky * g.dilation[0] * layout.row + kx * g.dilation[1] * layout.pixel);
    }
  }
  return offsets;
}

AlignedVector<int32_t> LayOutDepthwiseWeights(const ConvProblem& problem, int64_t block) {
  const int64_t channels = problem.op->geometry.out_channels;
  const int64_t taps = static_cast<int64_t>(problem.op->weight.size()) / channels;
  AlignedVector<int32_t> weights(static_cast<size_t>((channels + block - 1) / block * block * taps));
  for (int64_t o = 0; o < channels; ++o) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      weights[static_cast<size_t>((o / block * taps + tap) * block + o % block)] =
          problem.op->weight[static_cast<size_t>(o * taps + tap)];
    }
  }
  return weights;
}

}  // namespace lowbit
