// Bytes on AVX2: 4 pixels by 16 channels at a time, their sums in 8 registers.
//
// A round takes 4 neighbouring bytes of each pixel's window, spread over a register, and 16 channels' weights for them,
// [8 channels, 4] in each of 2 registers. vpmaddubsw gives each channel two 16-bit sums of two products. On Zen 3 the
// 8 products and 8 additions of a round fill its four vector pipes for 4 cycles: 64 products a cycle.

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
constexpr int32_t kMaxWord = 32767;

// Rounds on neighbouring bytes. After the last piece of a chunk the 16-bit sums have to be widened.
struct Piece {
  int64_t offset = 0;
  int64_t rounds = 0;
  bool ends_chunk = false;
};

class Avx2ByteConv : public ConvKernel {
 public:
  explicit Avx2ByteConv(const ConvProblem& problem)
      : problem_(problem), window_(MakeWindow(problem)), finish_(problem) {
    const int64_t outputs = problem.op->geometry.out_channels;
    blocks_ = (outputs + kBlock - 1) / kBlock;
    const int64_t row = static_cast<int64_t>(problem.op->weight.size()) / outputs;
    weights_.resize(static_cast<size_t>(blocks_ * window_.size() * kBlock));
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t k = 0; k < window_.size(); ++k) {
        const int64_t from = window_.weight_of[static_cast<size_t>(k)];
        if (from < 0) continue;
        const int64_t at = ((o / kBlock * (window_.size() / 4) + k / 4) * kBlock + o % kBlock) * 4 + k % 4;
        weights_[static_cast<size_t>(at)] = problem.op->weight[static_cast<size_t>(o * row + from)];
      }
    }
    FindPieces();
  }

  // Whether sums are exact, and long enough in 16 bits to be faster than in 32.
  bool pays() const { return is_exact_ && window_.size() / 4 >= 3 * chunks_; }

  const char* name() const override { return "avx2 bytes"; }

  int64_t scratch_bytes() const override {
    return finish_.needs_patch_sums() ? problem_.output->width * static_cast<int64_t>(sizeof(int32_t)) : 0;
  }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    const int64_t width = problem_.output->width;
    for (int64_t block = 0; block < blocks_; ++block) {
      const int8_t* const weights = weights_.data() + block * window_.size() * kBlock;
      for (int64_t y = begin; y < end; ++y) {
        const int32_t* const patch_sums = PatchSums(buffers, y);
        int64_t x = 0;
        for (; x + kPixels <= width; x += kPixels) FourPixels(buffers, weights, block, y, x, patch_sums);
        if (x < width && width >= kPixels) {  // the last four again: the same pixels get the same values
          FourPixels(buffers, weights, block, y, width - kPixels, patch_sums);
          x = width;
        }
        for (; x < width; ++x) OnePixel(buffers, weights, block, y, x, patch_sums);
      }
    }
  }

 private:
  // Cuts the window into chunks within which no 16-bit sum of any channel can overflow, by the actual weights.
  void FindPieces() {
    const int32_t max_code = problem_.input->max_code;
    const size_t sums = static_cast<size_t>(blocks_ * kBlock * 2);
    std::vector<int32_t> highest(sums, 0), lowest(sums, 0);
    int64_t round = 0;
    for (const Window::Run& run : window_.runs) {
      Piece piece{run.offset, 0, false};
      for (int64_t i = 0; i < run.bytes / 4; ++i, ++round) {
        if (!AddRound(round, max_code, &highest, &lowest)) {
          // The round starts a new chunk; if it overflows by itself, there is no way.
          std::fill(highest.begin(), highest.end(), 0);
          std::fill(lowest.begin(), lowest.end(), 0);
          if (!AddRound(round, max_code, &highest, &lowest)) {
            is_exact_ = false;
            return;
          }
          if (piece.rounds > 0) {
            piece.ends_chunk = true;
            pieces_.push_back(piece);
          } else {
            pieces_.back().ends_chunk = true;
          }
          piece = Piece{run.offset + i * 4, 0, false};
        }
        ++piece.rounds;
      }
      pieces_.push_back(piece);
    }
    pieces_.back().ends_chunk = true;
    for (const Piece& piece : pieces_) chunks_ += piece.ends_chunk ? 1 : 0;
  }

  // False, and nothing of use in the bounds, if a sum could leave 16 bits.
  bool AddRound(int64_t round, int32_t max_code, std::vector<int32_t>* highest, std::vector<int32_t>* lowest) const {
    bool fits = true;
    for (int64_t block = 0; block < blocks_; ++block) {
      const int8_t* const w = weights_.data() + (block * (window_.size() / 4) + round) * kBlock * 4;
      for (int64_t i = 0; i < kBlock * 2; ++i) {
        const size_t at = static_cast<size_t>(block * kBlock * 2 + i);
        for (const int32_t weight : {w[2 * i], w[2 * i + 1]}) {
          (weight > 0 ? (*highest)[at] : (*lowest)[at]) += weight * max_code;
        }
        fits = fits && (*highest)[at] <= kMaxWord && (*lowest)[at] >= -kMaxWord - 1;
      }
    }
    return fits;
  }

  const int32_t* PatchSums(const ConvBuffers& buffers, int64_t y) const {
    if (!finish_.needs_patch_sums()) return nullptr;
    int32_t* const sums = reinterpret_cast<int32_t*>(buffers.scratch);
    for (int64_t x = 0; x < problem_.output->width; ++x) {
      const uint8_t* const start = buffers.input + WindowStart(problem_, y, x);
      int32_t sum = 0;
      for (const Window::Run& run : window_.runs) {
        for (int64_t i = 0; i < run.bytes; ++i) sum += start[run.offset + i];
      }
      sums[x] = sum;
    }
    return sums;
  }

  static LOWBIT_AVX2_INLINE __m256i Spread(const uint8_t* bytes) {
    int32_t four;
    std::memcpy(&four, bytes, sizeof(four));
    return _mm256_set1_epi32(four);
  }

  LOWBIT_AVX2_INLINE void FourPixels(const ConvBuffers& buffers, const int8_t* weights, int64_t block, int64_t y,
                                     int64_t x, const int32_t* patch_sums) const {
    const uint8_t* const start = buffers.input + WindowStart(problem_, y, x);
    const int64_t step = problem_.op->geometry.stride[1] * problem_.input_layout.pixel;
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i zero = _mm256_setzero_si256();
    const __m256i* w = reinterpret_cast<const __m256i*>(weights);
    __m256i s00 = zero, s01 = zero, s10 = zero, s11 = zero, s20 = zero, s21 = zero, s30 = zero, s31 = zero;
    __m256i wide[8];
    if (chunks_ > 1) {
      for (__m256i& sum : wide) sum = zero;
    }
    for (const Piece& piece : pieces_) {
      const uint8_t* p0 = start + piece.offset;
      const uint8_t* p2 = p0 + 2 * step;
      for (int64_t round = 0; round < piece.rounds; ++round, w += 2, p0 += 4, p2 += 4) {
        const __m256i w0 = _mm256_loadu_si256(w);
        const __m256i w1 = _mm256_loadu_si256(w + 1);
        const __m256i a0 = Spread(p0);
        s00 = _mm256_add_epi16(s00, _mm256_maddubs_epi16(a0, w0));
        s01 = _mm256_add_epi16(s01, _mm256_maddubs_epi16(a0, w1));
        const __m256i a1 = Spread(p0 + step);
        s10 = _mm256_add_epi16(s10, _mm256_maddubs_epi16(a1, w0));
        s11 = _mm256_add_epi16(s11, _mm256_maddubs_epi16(a1, w1));
        const __m256i a2 = Spread(p2);
        s20 = _mm256_add_epi16(s20, _mm256_maddubs_epi16(a2, w0));
        s21 = _mm256_add_epi16(s21, _mm256_maddubs_epi16(a2, w1));
        const __m256i a3 = Spread(p2 + step);
        s30 = _mm256_add_epi16(s30, _mm256_maddubs_epi16(a3, w0));
        s31 = _mm256_add_epi16(s31, _mm256_maddubs_epi16(a3, w1));
      }
      if (!piece.ends_chunk || chunks_ == 1) continue;
      wide[0] = _mm256_add_epi32(wide[0], _mm256_madd_epi16(s00, ones));
      wide[1] = _mm256_add_epi32(wide[1], _mm256_madd_epi16(s01, ones));
      wide[2] = _mm256_add_epi32(wide[2], _mm256_madd_epi16(s10, ones));
      wide[3] = _mm256_add_epi32(wide[3], _mm256_madd_epi16(s11, ones));
      wide[4] = _mm256_add_epi32(wide[4], _mm256_madd_epi16(s20, ones));
      wide[5] = _mm256_add_epi32(wide[5], _mm256_madd_epi16(s21, ones));
      wide[6] = _mm256_add_epi32(wide[6], _mm256_madd_epi16(s30, ones));
      wide[7] = _mm256_add_epi32(wide[7], _mm256_madd_epi16(s31, ones));
      s00 = s01 = s10 = s11 = s20 = s21 = s30 = s31 = zero;
    }
    if (chunks_ == 1) {
      wide[0] = _mm256_madd_epi16(s00, ones);
      wide[1] = _mm256_madd_epi16(s01, ones);
      wide[2] = _mm256_madd_epi16(s10, ones);
      wide[3] = _mm256_madd_epi16(s11, ones);
      wide[4] = _mm256_madd_epi16(s20, ones);
      wide[5] = _mm256_madd_epi16(s21, ones);
      wide[6] = _mm256_madd_epi16(s30, ones);
      wide[7] = _mm256_madd_epi16(s31, ones);
    }
    for (int64_t p = 0; p < kPixels; ++p) {
      finish_.Finish(buffers, y, x + p, block * kBlock, wide[2 * p], wide[2 * p + 1],
                     patch_sums == nullptr ? 0 : patch_sums[x + p]);
    }
  }

  LOWBIT_AVX2_INLINE void OnePixel(const ConvBuffers& buffers, const int8_t* weights, int64_t block, int64_t y,
                                   int64_t x, const int32_t* patch_sums) const {
    const uint8_t* const start = buffers.input + WindowStart(problem_, y, x);
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i zero = _mm256_setzero_si256();
    const __m256i* w = reinterpret_cast<const __m256i*>(weights);
    __m256i s0 = zero, s1 = zero, wide0 = zero, wide1 = zero;
    for (const Piece& piece : pieces_) {
      const uint8_t* p = start + piece.offset;
      for (int64_t round = 0; round < piece.rounds; ++round, w += 2, p += 4) {
        const __m256i a = Spread(p);
        s0 = _mm256_add_epi16(s0, _mm256_maddubs_epi16(a, _mm256_loadu_si256(w)));
        s1 = _mm256_add_epi16(s1, _mm256_maddubs_epi16(a, _mm256_loadu_si256(w + 1)));
      }
      if (!piece.ends_chunk) continue;
      wide0 = _mm256_add_epi32(wide0, _mm256_madd_epi16(s0, ones));
      wide1 = _mm256_add_epi32(wide1, _mm256_madd_epi16(s1, ones));
      s0 = s1 = zero;
    }
    finish_.Finish(buffers, y, x, block * kBlock, wide0, wide1, patch_sums == nullptr ? 0 : patch_sums[x]);
  }

  const ConvProblem problem_;
  const Window window_;
  const Avx2Finish finish_;
  int64_t blocks_ = 0;
  std::vector<int8_t> weights_;  // [block, round, channel of the block, 4]
  std::vector<Piece> pieces_;
  int64_t chunks_ = 0;
  bool is_exact_ = true;
};

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx2ByteConv(const ConvProblem& problem) {
  if (problem.op->geometry.groups != 1) return nullptr;
  auto kernel = std::make_unique<Avx2ByteConv>(problem);
  if (!kernel->pays()) return nullptr;
  return kernel;
}

#else

std::unique_ptr<ConvKernel> MakeAvx2ByteConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
