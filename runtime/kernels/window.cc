#include "runtime/kernels/window.h"

namespace lowbit {

Window MakeWindow(const ConvProblem& problem) {
  const Conv2d& g = problem.op->geometry;
  const TensorLayout& layout = problem.input_layout;
  Window window;
  for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
    for (int64_t kx = 0; kx < g.kernel[1]; ++kx) {
      const int64_t offset = ky * g.dilation[0] * layout.row + kx * g.dilation[1] * layout.pixel;
      if (!window.runs.empty() && window.runs.back().offset + window.runs.back().bytes == offset) {
        window.runs.back().bytes += layout.pixel;
      } else {
        window.runs.push_back({offset, layout.pixel});
      }
      for (int64_t c = 0; c < layout.pixel; ++c) {
        window.weight_of.push_back(c < g.in_channels ? (ky * g.kernel[1] + kx) * g.in_channels + c : -1);
      }
    }
  }
  return window;
}

}  // namespace lowbit
