#include "runtime/kernels/portable_conv.h"

#include <algorithm>
#include <array>
#include <vector>

#include "runtime/kernels/window.h"

namespace lowbit {
namespace {

constexpr int64_t kLanes = 16;

// Sums of kLanes output channels at a time. Their weights stand together, [group, block, tap, channel, lane], and are 0
// where a group has no such channel.
class PortableConv : public ConvKernel {
 public:
  explicit PortableConv(const ConvProblem& problem) : problem_(problem) {
    const Conv2d& g = problem.op->geometry;
    outputs_ = g.out_channels / g.groups;
    channels_ = g.in_channels / g.groups;
    taps_ = g.kernel[0] * g.kernel[1];
    blocks_ = (outputs_ + kLanes - 1) / kLanes;
    weights_.resize(static_cast<size_t>(g.groups * blocks_ * taps_ * channels_ * kLanes));
    for (int64_t o = 0; o < g.out_channels; ++o) {
      const int64_t block = o / outputs_ * blocks_ + o % outputs_ / kLanes;
      for (int64_t k = 0; k < taps_ * channels_; ++k) {
        weights_[static_cast<size_t>((block * taps_ * channels_ + k) * kLanes + o % outputs_ % kLanes)] =
            problem.op->weight[static_cast<size_t>(o * taps_ * channels_ + k)];
      }
    }
  }

  const char* name() const override { return "portable"; }

  void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t x = 0; x < problem_.output->width; ++x) {
        for (int64_t group = 0; group < problem_.op->geometry.groups; ++group) {
          for (int64_t block = 0; block < blocks_; ++block) Block(buffers, y, x, group, block);
        }
      }
    }
  }

 private:
  void Block(const ConvBuffers& buffers, int64_t y, int64_t x, int64_t group, int64_t block) const {
    const Conv2d& g = problem_.op->geometry;
    const TensorLayout& layout = problem_.input_layout;
    const int16_t* weight = weights_.data() + (group * blocks_ + block) * taps_ * channels_ * kLanes;
    std::array<int32_t, kLanes> sums{};
    int32_t patch_sum = 0;
    for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
      for (int64_t kx = 0; kx < g.kernel[1]; ++kx) {
        // In the border stand zeros, which add nothing.
        const uint8_t* const codes =
            buffers.input + layout.offset + (y * g.stride[0] - g.padding[0] + ky * g.dilation[0]) * layout.row +
            (x * g.stride[1] - g.padding[1] + kx * g.dilation[1]) * layout.pixel + group * channels_;
        for (int64_t c = 0; c < channels_; ++c, weight += kLanes) {
          const int32_t code = codes[c];
          patch_sum += code;
          for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += weight[lane] * code;
        }
      }
    }
    const int64_t first = block * kLanes;
    for (int64_t lane = 0; lane < std::min(kLanes, outputs_ - first); ++lane) {
      FinishOne(problem_, buffers, y, x, group * outputs_ + first + lane, sums[static_cast<size_t>(lane)], patch_sum);
    }
  }

  const ConvProblem problem_;
  int64_t outputs_ = 0;   // of a group
  int64_t channels_ = 0;  // likewise
  int64_t taps_ = 0;
  int64_t blocks_ = 0;  // of kLanes outputs, of a group
  std::vector<int16_t> weights_;
};

// As many groups as channels: kLanes channels at a time, each with its own weights.
class PortableDepthwiseConv : public ConvKernel {
 public:
  explicit PortableDepthwiseConv(const ConvProblem& problem) : problem_(problem) {
    const Conv2d& g = problem.op->geometry;
    taps_ = g.kernel[0] * g.kernel[1];
    const int64_t blocks = (g.out_channels + kLanes - 1) / kLanes;
    weights_.resize(static_cast<size_t>(blocks * taps_ * kLanes));
    for (int64_t o = 0; o < g.out_channels; ++o) {
      for (int64_t tap = 0; tap < taps_; ++tap) {
        weights_[static_cast<size_t>((o / kLanes * taps_ + tap) * kLanes + o % kLanes)] =
            problem.op->weight[static_cast<size_t>(o * taps_ + tap)];
      }
    }
  }

  const char* name() const override { return "portable depthwise"; }

  void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t x = 0; x < problem_.output->width; ++x) {
        for (int64_t first = 0; first < problem_.op->geometry.out_channels; first += kLanes) {
          Block(buffers, y, x, first);
        }
      }
    }
  }

 private:
  void Block(const ConvBuffers& buffers, int64_t y, int64_t x, int64_t first) const {
    const Conv2d& g = problem_.op->geometry;
    const TensorLayout& layout = problem_.input_layout;
    const int64_t lanes = std::min(kLanes, g.out_channels - first);
    const int16_t* weight = weights_.data() + first * taps_;
    std::array<int32_t, kLanes> sums{};
    std::array<int32_t, kLanes> patch_sums{};
    for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
      for (int64_t kx = 0; kx < g.kernel[1]; ++kx, weight += kLanes) {
        // Whole vectors may be read: what follows a pixel is another, the border or slack.
        const uint8_t* const codes = buffers.input + layout.offset +
                                     (y * g.stride[0] - g.padding[0] + ky * g.dilation[0]) * layout.row +
                                     (x * g.stride[1] - g.padding[1] + kx * g.dilation[1]) * layout.pixel + first;
        for (size_t lane = 0; lane < kLanes; ++lane) {
          sums[lane] += weight[lane] * codes[lane];
          patch_sums[lane] += codes[lane];
        }
      }
    }
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const size_t i = static_cast<size_t>(lane);
      FinishOne(problem_, buffers, y, x, first + lane, sums[i], patch_sums[i]);
    }
  }

  const ConvProblem problem_;
  int64_t taps_ = 0;
  std::vector<int16_t> weights_;
};

}  // namespace

std::unique_ptr<ConvKernel> MakePortableConv(const ConvProblem& problem) {
  if (IsDepthwise(problem)) return std::make_unique<PortableDepthwiseConv>(problem);
  return std::make_unique<PortableConv>(problem);
}

}  // namespace lowbit
