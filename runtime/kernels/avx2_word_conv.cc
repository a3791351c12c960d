// 16-bit words on AVX2: 4 pixels by 16 channels at a time, their 32-bit sums in 8 registers.
//
// The codes of the rows that are read are widened to 16 bits first, once for all channels. A round takes 2 of them of
// each pixel's window, spread over a register, and 16 channels' weights for them, [8 channels, 2] in each of 2
// registers. vpmaddwd gives each channel the 32-bit sum of two products: 32 products a cycle on Zen 3.

#include <algorithm>

#include "runtime/kernels/aligned_vector.h"
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
constexpr int64_t kStepCodes = 4;  // two rounds
constexpr int64_t kStepWeights = kStepCodes * kBlock;

class Avx2WordConv : public ConvKernel {
 public:
  explicit Avx2WordConv(const ConvProblem& problem)
      : problem_(problem), window_(MakeWindow(problem, kStepCodes)), finish_(problem) {
    const int64_t outputs = problem.op->geometry.out_channels;
    const int64_t row = static_cast<int64_t>(problem.op->weight.size()) / outputs;
    blocks_ = (outputs + kBlock - 1) / kBlock;
    weights_.resize(static_cast<size_t>(blocks_ * window_.steps() * kStepWeights));
    for (int64_t o = 0; o < outputs; ++o) {
      for (size_t k = 0; k < window_.weight_of.size(); ++k) {
        const int64_t from = window_.weight_of[k];
        if (from < 0) continue;
        const int64_t code = static_cast<int64_t>(k);
        const int64_t round = o / kBlock * window_.steps() * 2 + code / 2;
        weights_[static_cast<size_t>((round * kBlock + o % kBlock) * 2 + code % 2)] =
            problem.op->weight[static_cast<size_t>(o * row + from)];
      }
    }
  }

  const char* name() const override { return "avx2 words"; }

  // The sums of a row, those of the codes in its windows, and the rows that are read, widened.
  int64_t scratch_bytes() const override {
    return SumsBytes() + RowsRead(problem_.output->height) * problem_.input_layout.row * 2 + kReadSlack;
  }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    if (begin >= end) return;
    // The rows that windows of [begin, end) read, whole, from the border on the left to that on the right.
    const TensorLayout& layout = problem_.input_layout;
    const Conv2d& g = problem_.op->geometry;
    const int64_t first =
        layout.offset - layout.offset % layout.row + (begin * g.stride[0] - g.padding[0]) * layout.row;
    auto* const sums = reinterpret_cast<int32_t(*)[kBlock]>(buffers.scratch);
    int16_t* const words = reinterpret_cast<int16_t*>(buffers.scratch + SumsBytes());
    Widen(buffers.input + first, RowsRead(end - begin) * layout.row, words);
    const int64_t width = problem_.output->width;
    const int64_t step = g.stride[1] * layout.pixel;
    for (int64_t block = 0; block < blocks_; ++block) {
      const int16_t* const weights = weights_.data() + block * window_.steps() * kStepWeights;
      for (int64_t y = begin; y < end; ++y) {
        const int16_t* const start = words - first + WindowStart(problem_, y, 0);
        // The last four pixels may overlap those before: they get the same sums again.
        for (int64_t x = 0; x < width && width >= kPixels; x += kPixels) {
          const int64_t at = std::min(x, width - kPixels);
          FourPixels(window_, weights, start + at * step, step, sums + at);
        }
        for (int64_t x = 0; x < width && width < kPixels; ++x) OnePixel(window_, weights, start + x * step, sums[x]);
        int32_t* const patch_sums = sums[width];
        for (int64_t x = 0; x < width && finish_.needs_patch_sums(); ++x) {
          patch_sums[x] = WindowSum(window_, kStepCodes, start + x * step);
        }
        Avx2Finish::FinishRow(finish_.MakeRow(buffers, y, block * kBlock), sums, patch_sums, 0, width);
      }
    }
  }

 private:
  int64_t SumsBytes() const { return problem_.output->width * (kBlock + 1) * static_cast<int64_t>(sizeof(int32_t)); }

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

  static LOWBIT_AVX2_INLINE __m256i Load(const int16_t* weights) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
  }

  static LOWBIT_AVX2_INLINE void Store(__m256i low, __m256i high, int32_t (&out)[kBlock]) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out), low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + 8), high);
  }

  static LOWBIT_AVX2_INLINE void FourPixels(const Window& window, const int16_t* weights, const int16_t* start,
                                            int64_t step, int32_t (*out)[kBlock]) {
    const __m256i zero = _mm256_setzero_si256();
    const int64_t* const offsets = window.offsets.data();
    const int64_t steps = window.steps();
    const int16_t* const start1 = start + step;
    const int16_t* const start2 = start1 + step;
    const int16_t* const start3 = start2 + step;
    const int16_t* w = weights;
    __m256i s00 = zero, s01 = zero, s10 = zero, s11 = zero, s20 = zero, s21 = zero, s30 = zero, s31 = zero;
    for (int64_t i = 0; i < steps; ++i, w += kStepWeights) {
      const int64_t offset = offsets[i];
      for (int64_t k = 0; k < kStepCodes; k += 2) {
        const __m256i w0 = Load(w + k * kBlock);
        const __m256i w1 = Load(w + k * kBlock + 16);
        const __m256i a0 = Spread(start + offset + k);
        s00 = Opaque(_mm256_add_epi32(s00, _mm256_madd_epi16(a0, w0)));
        s01 = Opaque(_mm256_add_epi32(s01, _mm256_madd_epi16(a0, w1)));
        const __m256i a1 = Spread(start1 + offset + k);
        s10 = Opaque(_mm256_add_epi32(s10, _mm256_madd_epi16(a1, w0)));
        s11 = Opaque(_mm256_add_epi32(s11, _mm256_madd_epi16(a1, w1)));
        const __m256i a2 = Spread(start2 + offset + k);
        s20 = Opaque(_mm256_add_epi32(s20, _mm256_madd_epi16(a2, w0)));
        s21 = Opaque(_mm256_add_epi32(s21, _mm256_madd_epi16(a2, w1)));
        const __m256i a3 = Spread(start3 + offset + k);
        s30 = Opaque(_mm256_add_epi32(s30, _mm256_madd_epi16(a3, w0)));
        s31 = Opaque(_mm256_add_epi32(s31, _mm256_madd_epi16(a3, w1)));
      }
    }
    Store(s00, s01, out[0]);
    Store(s10, s11, out[1]);
    Store(s20, s21, out[2]);
    Store(s30, s31, out[3]);
  }

  static LOWBIT_AVX2_INLINE void OnePixel(const Window& window, const int16_t* weights, const int16_t* start,
                                          int32_t (&out)[kBlock]) {
    __m256i s0 = _mm256_setzero_si256(), s1 = s0;
    for (const int64_t offset : window.offsets) {
      for (int64_t k = 0; k < kStepCodes; k += 2, weights += 2 * kBlock) {
        const __m256i a = Spread(start + offset + k);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(a, Load(weights)));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(a, Load(weights + 16)));
      }
    }
    Store(s0, s1, out);
  }

  const ConvProblem problem_;
  const Window window_;
  const Avx2Finish finish_;
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
