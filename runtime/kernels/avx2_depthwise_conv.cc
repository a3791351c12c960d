// As many groups as channels on AVX2: 4 pixels by 16 channels at a time, their 32-bit sums in 8 registers. A tap's
// codes are widened to 32 bits, whose lower half vpmaddwd multiplies.

#include <algorithm>
#include <vector>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/avx2_conv.h"
#include "runtime/kernels/window.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx2_finish.h"
#include "runtime/kernels/avx2_tile.h"
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = Avx2Finish::kChannels;
constexpr int kPixels = Avx2Tile::kPixels;

class Avx2DepthwiseConv : public ConvKernel {
 public:
  explicit Avx2DepthwiseConv(const ConvProblem& problem)
      : problem_(problem), finish_(problem), offsets_(TapOffsets(problem)) {
    weights_ = LayOutDepthwiseWeights(problem, kBlock);
  }

  const char* name() const override { return "avx2 depthwise"; }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    const int64_t width = problem_.output->width, channels = problem_.op->geometry.out_channels;
    const int64_t step = problem_.op->geometry.stride[1] * problem_.input_layout.pixel;
    const int64_t taps = static_cast<int64_t>(offsets_.size());
    for (int64_t channel = 0; channel < channels; channel += kBlock) {
      const int32_t* const weights = weights_.data() + channel * taps;
      for (int64_t y = begin; y < end; ++y) {
        const uint8_t* const start = buffers.input + WindowStart(problem_, y, 0) + channel;
        const Avx2Finish::Row row = finish_.MakeRow(buffers, y, channel);
        // The last four pixels may overlap those before: they are made again.
        for (int64_t x = 0; x < width && width >= kPixels; x += kPixels) {
          const int64_t at = std::min(x, width - kPixels);
          Sums<kPixels>(start + at * step, step, weights).Finish(row, at);
        }
        for (int64_t x = 0; x < width && width < kPixels; ++x) {
          const Avx2Tile tile = Sums<1>(start + x * step, step, weights);
          alignas(32) int32_t sums[1][kBlock];
          Avx2Tile::StorePixel(tile.sums[0][0], tile.sums[0][1], sums[0]);
          Avx2Finish::FinishRow(row, sums, x, x + 1);
        }
      }
    }
  }

 private:
  // Of the first kCount pixels of a tile.
  template <int kCount>
  LOWBIT_AVX2_INLINE Avx2Tile Sums(const uint8_t* start, int64_t step, const int32_t* weights) const {
    Avx2Tile tile;
    tile.Clear();
    for (const int64_t offset : offsets_) {
      const auto* const w = reinterpret_cast<const __m256i*>(weights);
      weights += kBlock;
      for (int p = 0; p < kCount; ++p) {
        // (Beyond a pixel's channels stand the next one's, the border or slack.)
        const auto* const codes = reinterpret_cast<const __m128i*>(start + offset + p * step);
        const __m128i bytes = _mm_loadu_si128(codes);
        const __m256i low = _mm256_cvtepu8_epi32(bytes), high = _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8));
        tile.sums[p][0] = Opaque(Avx2AddWords()(tile.sums[p][0], low, _mm256_load_si256(w)));
        tile.sums[p][1] = Opaque(Avx2AddWords()(tile.sums[p][1], high, _mm256_load_si256(w + 1)));
      }
    }
    return tile;
  }

  const ConvProblem problem_;
  const Avx2Finish finish_;
  const std::vector<int64_t> offsets_;
  AlignedVector<int32_t> weights_;  // [block, tap, channel of the block]
};

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx2DepthwiseConv(const ConvProblem& problem) {
  // With zero points of weights each channel would need a patch sum of its own.
  if (!IsDepthwise(problem) || !problem.op->epilogue.patch_multiplier.empty()) return nullptr;
  return std::make_unique<Avx2DepthwiseConv>(problem);
}

#else

std::unique_ptr<ConvKernel> MakeAvx2DepthwiseConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
