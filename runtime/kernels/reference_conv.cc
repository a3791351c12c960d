#include "runtime/kernels/reference_conv.h"

namespace lowbit {
namespace {

class ReferenceConv : public ConvKernel {
 public:
  explicit ReferenceConv(const ConvProblem& problem) : problem_(problem) {}

  const char* name() const override { return "reference"; }

  void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t x = 0; x < problem_.output->width; ++x) {
        for (int64_t o = 0; o < problem_.op->geometry.out_channels; ++o) Pixel(buffers, y, x, o);
      }
    }
  }

 private:
  void Pixel(const ConvBuffers& buffers, int64_t y, int64_t x, int64_t o) const {
    const Conv2d& g = problem_.op->geometry;
    const TensorLayout& layout = problem_.input_layout;
    const int64_t channels = g.in_channels / g.groups;
    const int64_t first_channel = o / (g.out_channels / g.groups) * channels;
    const int8_t* weight = problem_.op->weight.data() + o * g.kernel[0] * g.kernel[1] * channels;
    int32_t sum = 0;
    int32_t patch_sum = 0;
    for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
      for (int64_t kx = 0; kx < g.kernel[1]; ++kx, weight += channels) {
        const int64_t from_y = y * g.stride[0] - g.padding[0] + ky * g.dilation[0];
        const int64_t from_x = x * g.stride[1] - g.padding[1] + kx * g.dilation[1];
        if (from_y < 0 || from_y >= problem_.input->height || from_x < 0 || from_x >= problem_.input->width) continue;
        const uint8_t* const codes =
            buffers.input + layout.offset + from_y * layout.row + from_x * layout.pixel + first_channel;
        for (int64_t c = 0; c < channels; ++c) {
          sum += weight[c] * codes[c];
          patch_sum += codes[c];
        }
      }
    }
    FinishOne(problem_, buffers, y, x, o, sum, patch_sum);
  }

  const ConvProblem problem_;
};

}  // namespace

std::unique_ptr<ConvKernel> MakeReferenceConv(const ConvProblem& problem) {
  return std::make_unique<ReferenceConv>(problem);
}

}  // namespace lowbit
