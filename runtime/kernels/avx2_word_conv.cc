// 16-bit words on AVX2: 4 pixels by 16 channels at a time, their 32-bit sums in 8 registers.
//
// The codes of the rows that are read are widened to 16 bits first, once for all channels. A round takes 2 of them of
// each pixel's window, spread over a register, and 16 channels' weights for them, [8 channels, 2] in each of 2
// registers. vpmaddwd gives each channel the 32-bit sum of two products: 32 products a cycle on Zen 3.

#include <algorithm>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/avx2_conv.h"
#include "runtime/kernels/window.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx2_finish.h"
#include "runtime/kernels/avx2_patch_sums.h"
#include "runtime/kernels/avx2_tile.h"
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = Avx2Finish::kChannels;
constexpr int64_t kPixels = Avx2Tile::kPixels;
constexpr int64_t kStepCodes = 4;  // two rounds
constexpr int64_t kStepWeights = kStepCodes * kBlock;

class Avx2WordConv : public ConvKernel {
 public:
  explicit Avx2WordConv(const ConvProblem& problem)
      : problem_(problem), window_(MakeWindow(problem, kStepCodes)), finish_(problem), patch_sums_(problem) {
    blocks_ = (problem.op->geometry.out_channels + kBlock - 1) / kBlock;
    weights_ = LayOutWeights<int16_t>(problem, window_, kBlock, 2);
  }

  const char* name() const override { return "avx2 words"; }

  // The sums of the codes in windows, and the rows that are read, widened.
  int64_t scratch_bytes() const override {
    return patch_sums_.scratch_bytes() + RowsRead(problem_, problem_.output->height) * problem_.input_layout.row * 2 +
           kReadSlack;
  }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    if (begin >= end) return;
    // The rows that windows of [begin, end) read, whole, from the border on the left to that on the right.
    const TensorLayout& layout = problem_.input_layout;
    const int64_t first = FirstRowRead(problem_, begin) * layout.row;
    int16_t* const words = reinterpret_cast<int16_t*>(buffers.scratch + patch_sums_.scratch_bytes());
    Widen(buffers.input + first, RowsRead(problem_, end - begin) * layout.row, words);
    patch_sums_.Make(buffers.input, begin, end, buffers.scratch);
    const int64_t width = problem_.output->width;
    const int64_t step = problem_.op->geometry.stride[1] * layout.pixel;
    for (int64_t block = 0; block < blocks_; ++block) {
      const int16_t* const weights = weights_.data() + block * window_.steps() * kStepWeights;
      for (int64_t y = begin; y < end; ++y) {
        const int16_t* const start = words - first + WindowStart(problem_, y, 0);
        const Avx2Finish::Row row = finish_.MakeRow(buffers, y, block * kBlock, patch_sums_.Row(buffers.scratch, y));
        // The last four pixels may overlap those before: they are made again.
        for (int64_t x = 0; x < width && width >= kPixels; x += kPixels) {
          const int64_t at = std::min(x, width - kPixels);
          FourPixels(window_, weights, start + at * step, step).Finish(row, at);
        }
        for (int64_t x = 0; x < width && width < kPixels; ++x) {
          alignas(32) int32_t sums[1][kBlock];
          OnePixel(window_, weights, start + x * step, sums[0]);
          Avx2Finish::FinishRow(row, sums, x, x + 1);
        }
      }
    }
  }

 private:
  static LOWBIT_AVX2_INLINE void Widen(const uint8_t* bytes, int64_t count, int16_t* words) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
      const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + i), _mm256_cvtepu8_epi16(some));
    }
    for (; i < count; ++i) words[i] = bytes[i];
  }

  static LOWBIT_AVX2_INLINE Avx2Tile FourPixels(const Window& window, const int16_t* weights, const int16_t* start,
                                                int64_t step) {
    const int64_t* const offsets = window.offsets.data();
    const int64_t steps = window.steps();
    const int16_t* const start1 = start + step;
    const int16_t* const start2 = start1 + step;
    const int16_t* const start3 = start2 + step;
    const int16_t* w = weights;
    Avx2Tile tile;
    tile.Clear();
    for (int64_t i = 0; i < steps; ++i, w += kStepWeights) {
      const int64_t offset = offsets[i];
      for (int64_t k = 0; k < kStepCodes; k += 2) {
        tile.AddRound(w + k * kBlock, start + offset + k, start1 + offset + k, start2 + offset + k, start3 + offset + k,
                      Avx2AddWords());
      }
    }
    return tile;
  }

  static LOWBIT_AVX2_INLINE void OnePixel(const Window& window, const int16_t* weights, const int16_t* start,
                                          int32_t (&out)[kBlock]) {
    __m256i s0 = _mm256_setzero_si256(), s1 = s0;
    for (const int64_t offset : window.offsets) {
      for (int64_t k = 0; k < kStepCodes; k += 2, weights += 2 * kBlock) {
        const __m256i a = Avx2Tile::Spread(start + offset + k);
        const auto* const of_round = reinterpret_cast<const __m256i*>(weights);
        s0 = Avx2AddWords()(s0, a, of_round[0]);
        s1 = Avx2AddWords()(s1, a, of_round[1]);
      }
    }
    Avx2Tile::StorePixel(s0, s1, out);
  }

  const ConvProblem problem_;
  const Window window_;
  const Avx2Finish finish_;
  const Avx2PatchSums patch_sums_;
  int64_t blocks_ = 0;
  AlignedVector<int16_t> weights_;  // [block, step, 2 rounds, channel of the block, 2]
};

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx2WordConv(const ConvProblem& problem) {
  if (problem.op->geometry.groups != 1) return nullptr;
  return std::make_unique<Avx2WordConv>(problem);
}

#else

std::unique_ptr<ConvKernel> MakeAvx2WordConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
