// Bytes on AVX2: 4 pixels by 16 channels at a time, their sums in 8 registers.
//
// A round takes 4 neighbouring bytes of each pixel's window, spread over a register, and 16 channels' weights for them,
// [8 channels, 4] in each of 2 registers. vpmaddubsw gives each channel two 16-bit sums of two products. On Zen 3 the
// 8 products and 8 additions of a round fill its four vector pipes for 4 cycles: 64 products a cycle.

#include <algorithm>
#include <cstdlib>

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
constexpr int64_t kStepBytes = 8;  // two rounds
constexpr int64_t kStepWeights = kStepBytes * kBlock;
constexpr int32_t kMaxWord = 32767;

class Avx2ByteConv : public ConvKernel {
 public:
  explicit Avx2ByteConv(const ConvProblem& problem)
      : problem_(problem), window_(MakeWindow(problem, kStepBytes)), finish_(problem), patch_sums_(problem) {
    blocks_ = (problem.op->geometry.out_channels + kBlock - 1) / kBlock;
    weights_ = LayOutWeights<int8_t>(problem, window_, kBlock, 4);
    FindChunks();
  }

  // Whether sums are exact, and long enough in 16 bits to be faster than in 32.
  bool pays() const { return is_exact_ && 2 * window_.steps() >= 3 * static_cast<int64_t>(chunk_ends_.size()); }

  const char* name() const override { return "avx2 bytes"; }

  int64_t scratch_bytes() const override { return patch_sums_.scratch_bytes(); }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    if (chunk_ends_.size() == 1) {
      RunRows<true>(buffers, begin, end);
    } else {
      RunRows<false>(buffers, begin, end);
    }
  }

 private:
  // What four pixels are computed from.
  struct Operands {
    const int8_t* weights;
    const int64_t* offsets;
    const int64_t* chunk_ends;  // counted in steps
    int64_t chunks;
    int64_t step;  // bytes from a pixel's window to the next one's
  };

  // Cuts the window into chunks of steps within which no 16-bit sum of any channel can overflow, by the actual weights.
  void FindChunks() {
    const size_t sums = static_cast<size_t>(blocks_ * kBlock * 2);
    std::vector<int32_t> highest(sums, 0), lowest(sums, 0);
    for (int64_t step = 0; step < window_.steps(); ++step) {
      if (AddStep(step, &highest, &lowest)) continue;
      // A new chunk; if the step overflows by itself, there is no way.
      std::fill(highest.begin(), highest.end(), 0);
      std::fill(lowest.begin(), lowest.end(), 0);
      is_exact_ = is_exact_ && AddStep(step, &highest, &lowest);
      if (step > 0) chunk_ends_.push_back(step);
    }
    chunk_ends_.push_back(window_.steps());
  }

  // False, and nothing of use in the bounds, if a sum could leave 16 bits.
  bool AddStep(int64_t step, std::vector<int32_t>* highest, std::vector<int32_t>* lowest) const {
    const int32_t max_code = problem_.input->max_code;
    bool fits = true;
    for (int64_t block = 0; block < blocks_; ++block) {
      const int8_t* w = weights_.data() + (block * window_.steps() + step) * kStepWeights;
      for (int64_t i = 0; i < 2 * kBlock * 2; ++i, w += 2) {
        const size_t at = static_cast<size_t>(block * kBlock * 2 + i % (kBlock * 2));
        for (const int32_t weight : {w[0], w[1]}) {
          (weight > 0 ? (*highest)[at] : (*lowest)[at]) += weight * max_code;
        }
        fits = fits && (*highest)[at] <= kMaxWord && (*lowest)[at] >= -kMaxWord - 1;
      }
    }
    return fits;
  }

  template <bool kOneChunk>
  LOWBIT_AVX2_INLINE void RunRows(const ConvBuffers& buffers, int64_t begin, int64_t end) const {
    const int64_t width = problem_.output->width;
    Operands operands;
    operands.offsets = window_.offsets.data();
    operands.chunk_ends = chunk_ends_.data();
    operands.chunks = static_cast<int64_t>(chunk_ends_.size());
    operands.step = problem_.op->geometry.stride[1] * problem_.input_layout.pixel;
    patch_sums_.Make(buffers.input, begin, end, buffers.scratch);
    for (int64_t block = 0; block < blocks_; ++block) {
      operands.weights = weights_.data() + block * window_.steps() * kStepWeights;
      for (int64_t y = begin; y < end; ++y) {
        const uint8_t* const start = buffers.input + WindowStart(problem_, y, 0);
        const Avx2Finish::Row row = finish_.MakeRow(buffers, y, block * kBlock, patch_sums_.Row(buffers.scratch, y));
        // The last four pixels may overlap those before: they are made again.
        for (int64_t x = 0; x < width && width >= kPixels; x += kPixels) {
          const int64_t at = std::min(x, width - kPixels);
          FourPixels<kOneChunk>(operands, start + at * operands.step).Finish(row, at);
        }
        for (int64_t x = 0; x < width && width < kPixels; ++x) {
          alignas(32) int32_t sums[1][kBlock];
          OnePixel(operands, start + x * operands.step, sums[0]);
          Avx2Finish::FinishRow(row, sums, x, x + 1);
        }
      }
    }
  }

  template <bool kOneChunk>
  static LOWBIT_AVX2_INLINE Avx2Tile FourPixels(const Operands& operands, const uint8_t* start) {
    const __m256i ones = _mm256_set1_epi16(1);
    const int64_t* const offsets = operands.offsets;
    const uint8_t* const start1 = start + operands.step;
    const uint8_t* const start2 = start1 + operands.step;
    const uint8_t* const start3 = start2 + operands.step;
    const int8_t* w = operands.weights;
    Avx2Tile words, sums;
    words.Clear();
    sums.Clear();
    int64_t step = 0;
    for (int64_t chunk = 0; chunk < (kOneChunk ? 1 : operands.chunks); ++chunk) {
      for (const int64_t chunk_end = operands.chunk_ends[chunk]; step < chunk_end; ++step, w += kStepWeights) {
        const int64_t offset = offsets[step];
        for (int64_t k = 0; k < kStepBytes; k += 4) {
          words.AddRound(w + k * kBlock, start + offset + k, start1 + offset + k, start2 + offset + k,
                         start3 + offset + k, Avx2AddBytes());
        }
      }
      for (int p = 0; p < kPixels; ++p) {
        for (int half = 0; half < 2; ++half) {
          sums.sums[p][half] = Avx2AddWords()(sums.sums[p][half], words.sums[p][half], ones);
        }
      }
      words.Clear();
    }
    return sums;
  }

  static LOWBIT_AVX2_INLINE void OnePixel(const Operands& operands, const uint8_t* start, int32_t (&out)[kBlock]) {
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i zero = _mm256_setzero_si256();
    const int8_t* w = operands.weights;
    __m256i wide0 = zero, wide1 = zero;
    int64_t step = 0;
    for (int64_t chunk = 0; chunk < operands.chunks; ++chunk) {
      __m256i s0 = zero, s1 = zero;
      for (; step < operands.chunk_ends[chunk]; ++step, w += kStepWeights) {
        for (int64_t k = 0; k < kStepBytes; k += 4) {
          const __m256i a = Avx2Tile::Spread(start + operands.offsets[step] + k);
          const auto* const weights = reinterpret_cast<const __m256i*>(w + k * kBlock);
          s0 = Avx2AddBytes()(s0, a, weights[0]);
          s1 = Avx2AddBytes()(s1, a, weights[1]);
        }
      }
      wide0 = Avx2AddWords()(wide0, s0, ones);
      wide1 = Avx2AddWords()(wide1, s1, ones);
    }
    Avx2Tile::StorePixel(wide0, wide1, out);
  }

  const ConvProblem problem_;
  const Window window_;
  const Avx2Finish finish_;
  const Avx2PatchSums patch_sums_;
  int64_t blocks_ = 0;
  AlignedVector<int8_t> weights_;  // [block, step, 2 rounds, channel of the block, 4]
  std::vector<int64_t> chunk_ends_;
  bool is_exact_ = true;
};

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx2ByteConv(const ConvProblem& problem) {
  if (problem.op->geometry.groups != 1) return nullptr;
  // (Known before anything is made: two of the largest products are too many.)
  int32_t largest = 0;
  for (const int8_t weight : problem.op->weight) largest = std::max(largest, std::abs(static_cast<int32_t>(weight)));
  if (2 * largest * problem.input->max_code > kMaxWord) return nullptr;
  auto kernel = std::make_unique<Avx2ByteConv>(problem);
  if (!kernel->pays()) return nullptr;
  return kernel;
}

#else

std::unique_ptr<ConvKernel> MakeAvx2ByteConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
