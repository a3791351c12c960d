// 16-bit words on AVX2: 4 pixels by 16 channels at a time, their 32-bit sums in 8 registers.
//
// The codes of the rows that are read are widened to 16 bits first, once for all channels. A round takes 2 of them of
// each pixel's window, spread over a register, and 16 channels' weights for them, [8 channels, 2] in each of 2
// registers. vpmaddwd gives each channel the 32-bit sum of two products: 32 products a cycle on Zen 3.

#include <algorithm>

#include "runtime/kernels/avx2_conv.h"
#include "runtime/kernels/window.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx2_finish.h"
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = Avx2Finish::kChannels;
constexpr int64_t kPixels = 4;

class Avx2WordConv : public ConvKernel {
 public:
  explicit Avx2WordConv(const ConvProblem& problem)
      : problem_(problem), window_(MakeWindow(problem)), finish_(problem) {
    const int64_t outputs = problem.op->geometry.out_channels;
    blocks_ = (outputs + kBlock - 1) / kBlock;
    const int64_t row = static_cast<int64_t>(problem.op->weight.size()) / outputs;
    weights_.resize(static_cast<size_t>(blocks_ * window_.size() * kBlock));
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t k = 0; k < window_.size(); ++k) {
        const int64_t from = window_.weight_of[static_cast<size_t>(k)];
        if (from < 0) continue;
        const int64_t at = ((o / kBlock * (window_.size() / 2) + k / 2) * kBlock + o % kBlock) * 2 + k % 2;
        weights_[static_cast<size_t>(at)] = problem.op->weight[static_cast<size_t>(o * row + from)];
      }
    }
  }

  const char* name() const override { return "avx2 words"; }

  int64_t scratch_bytes() const override {
    return RowsRead(problem_.output->height) * problem_.input_layout.row * static_cast<int64_t>(sizeof(int16_t));
  }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    if (begin >= end) return;
    // The rows that windows of [begin, end) read, whole, from the border on the left to that on the right.
    const TensorLayout& layout = problem_.input_layout;
    const Conv2d& g = problem_.op->geometry;
    const int64_t first =
        layout.offset - layout.offset % layout.row + (begin * g.stride[0] - g.padding[0]) * layout.row;
    int16_t* const words = reinterpret_cast<int16_t*>(buffers.scratch);
    Widen(buffers.input + first, RowsRead(end - begin) * layout.row, words);
    const int64_t width = problem_.output->width;
    for (int64_t block = 0; block < blocks_; ++block) {
      const int16_t* const weights = weights_.data() + block * window_.size() * kBlock;
      for (int64_t y = begin; y < end; ++y) {
        const int16_t* const start = words - first + WindowStart(problem_, y, 0);
        int64_t x = 0;
        for (; x + kPixels <= width; x += kPixels) FourPixels(buffers, weights, start, block, y, x);
        if (x < width && width >= kPixels) {  // the last four again: the same pixels get the same values
          FourPixels(buffers, weights, start, block, y, width - kPixels);
          x = width;
        }
        for (; x < width; ++x) OnePixel(buffers, weights, start, block, y, x);
      }
    }
  }

 private:
  int64_t RowsRead(int64_t rows) const {
    const Conv2d& g = problem_.op->geometry;
    return (rows - 1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1;
  }

  static LOWBIT_AVX2_INLINE void Widen(const uint8_t* bytes, int64_t count, int16_t* words) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
      const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + i), _mm256_cvtepu8_epi16(some));
    }
    for (; i < count; ++i) words[i] = bytes[i];
  }

  static LOWBIT_AVX2_INLINE __m256i Spread(const int16_t* words) {
    int32_t two;
    std::memcpy(&two, words, sizeof(two));
    return _mm256_set1_epi32(two);
  }

  int32_t PatchSum(const int16_t* window) const {
    int32_t sum = 0;
    for (const Window::Run& run : window_.runs) {
      for (int64_t i = 0; i < run.bytes; ++i) sum += window[run.offset + i];
    }
    return sum;
  }

  LOWBIT_AVX2_INLINE void FourPixels(const ConvBuffers& buffers, const int16_t* weights, const int16_t* start,
                                     int64_t block, int64_t y, int64_t x) const {
    const int64_t step = problem_.op->geometry.stride[1] * problem_.input_layout.pixel;
    const int16_t* const window = start + x * step;
    const __m256i zero = _mm256_setzero_si256();
    const __m256i* w = reinterpret_cast<const __m256i*>(weights);
    __m256i s00 = zero, s01 = zero, s10 = zero, s11 = zero, s20 = zero, s21 = zero, s30 = zero, s31 = zero;
    for (const Window::Run& run : window_.runs) {
      const int16_t* p0 = window + run.offset;
      const int16_t* p2 = p0 + 2 * step;
      for (int64_t i = 0; i < run.bytes; i += 2, w += 2, p0 += 2, p2 += 2) {
        const __m256i w0 = _mm256_loadu_si256(w);
        const __m256i w1 = _mm256_loadu_si256(w + 1);
        const __m256i a0 = Spread(p0);
        s00 = _mm256_add_epi32(s00, _mm256_madd_epi16(a0, w0));
        s01 = _mm256_add_epi32(s01, _mm256_madd_epi16(a0, w1));
        const __m256i a1 = Spread(p0 + step);
        s10 = _mm256_add_epi32(s10, _mm256_madd_epi16(a1, w0));
        s11 = _mm256_add_epi32(s11, _mm256_madd_epi16(a1, w1));
        const __m256i a2 = Spread(p2);
        s20 = _mm256_add_epi32(s20, _mm256_madd_epi16(a2, w0));
        s21 = _mm256_add_epi32(s21, _mm256_madd_epi16(a2, w1));
        const __m256i a3 = Spread(p2 + step);
        s30 = _mm256_add_epi32(s30, _mm256_madd_epi16(a3, w0));
        s31 = _mm256_add_epi32(s31, _mm256_madd_epi16(a3, w1));
      }
    }
    const __m256i sums[8] = {s00, s01, s10, s11, s20, s21, s30, s31};
    for (int64_t p = 0; p < kPixels; ++p) {
      const int32_t patch_sum = finish_.needs_patch_sums() ? PatchSum(window + p * step) : 0;
      finish_.Finish(buffers, y, x + p, block * kBlock, sums[2 * p], sums[2 * p + 1], patch_sum);
    }
  }

  LOWBIT_AVX2_INLINE void OnePixel(const ConvBuffers& buffers, const int16_t* weights, const int16_t* start,
                                   int64_t block, int64_t y, int64_t x) const {
    const int16_t* const window = start + x * problem_.op->geometry.stride[1] * problem_.input_layout.pixel;
    const __m256i* w = reinterpret_cast<const __m256i*>(weights);
    __m256i s0 = _mm256_setzero_si256(), s1 = s0;
    for (const Window::Run& run : window_.runs) {
      const int16_t* p = window + run.offset;
      for (int64_t i = 0; i < run.bytes; i += 2, w += 2, p += 2) {
        const __m256i a = Spread(p);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(a, _mm256_loadu_si256(w)));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(a, _mm256_loadu_si256(w + 1)));
      }
    }
    finish_.Finish(buffers, y, x, block * kBlock, s0, s1, finish_.needs_patch_sums() ? PatchSum(window) : 0);
  }

  const ConvProblem problem_;
  const Window window_;
  const Avx2Finish finish_;
  int64_t blocks_ = 0;
  std::vector<int16_t> weights_;  // [block, round, channel of the block, 2]
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
