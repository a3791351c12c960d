// As many groups as channels on AVX-512 with VNNI: 8 pixels by 32 channels at a time, or 16 by 16, their 32-bit sums in
// 16 registers. A tap's codes of 16 channels are widened to 32 bits, whose lower half vpdpwssd multiplies.

#include <vector>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/avx512_conv.h"
#include "runtime/kernels/window.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx512_tiles.h"
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = kAvx512Block;

class Avx512DepthwiseConv : public ConvKernel {
 public:
  explicit Avx512DepthwiseConv(const ConvProblem& problem)
      : problem_(problem), finish_(problem), offsets_(TapOffsets(problem)) {
    weights_ = LayOutDepthwiseWeights(problem, kBlock);
  }

  const char* name() const override { return "avx512 depthwise"; }

  int64_t scratch_bytes() const override { return static_cast<int64_t>(sizeof(Avx512Scratch)); }

  LOWBIT_AVX512 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    RunAvx512Tiles<1>(*this, problem_, finish_, buffers.input, buffers, nullptr, begin, end);
  }

  template <int kPixels, int kBlocks>
  LOWBIT_AVX512 __attribute__((noinline)) void Sums(Avx512Scratch* scratch, int64_t first, int64_t block) const {
    const uint8_t* const* const starts = scratch->starts + first;
    const int64_t taps = static_cast<int64_t>(offsets_.size());
    const int32_t* const weights = weights_.data() + block * taps * kBlock;
    Avx512Tile<kPixels, kBlocks> tile;
    tile.Clear();
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t offset = offsets_[static_cast<size_t>(tap)] + block * kBlock;
      __m512i w[kBlocks];
      for (int b = 0; b < kBlocks; ++b) w[b] = _mm512_load_si512(weights + (b * taps + tap) * kBlock);
#pragma GCC unroll 16
      for (int p = 0; p < kPixels; ++p) {
        // (Beyond a pixel's channels stand the next one's, the border or slack.)
        const auto* const codes = reinterpret_cast<const __m128i*>(starts[p] + offset);
        for (int b = 0; b < kBlocks; ++b) {
          const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes + b));
          tile.sums[p][b] = Opaque(_mm512_dpwssd_epi32(tile.sums[p][b], wide, w[b]));
        }
      }
    }
    tile.Store(first, scratch);
  }

 private:
  const ConvProblem problem_;
  const Avx512Finish finish_;
  const std::vector<int64_t> offsets_;
  AlignedVector<int32_t> weights_;  // [block, tap, channel of the block]
};

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx512DepthwiseConv(const ConvProblem& problem) {
  // With zero points of weights each channel would need a patch sum of its own.
  if (!IsDepthwise(problem) || !problem.op->epilogue.patch_multiplier.empty()) return nullptr;
  return std::make_unique<Avx512DepthwiseConv>(problem);
}

#else

std::unique_ptr<ConvKernel> MakeAvx512DepthwiseConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
