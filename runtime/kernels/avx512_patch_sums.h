#ifndef LOWBIT_RUNTIME_KERNELS_AVX512_PATCH_SUMS_H_
#define LOWBIT_RUNTIME_KERNELS_AVX512_PATCH_SUMS_H_

#include <cstdint>

#include "runtime/kernels/avx512_finish.h"
#include "runtime/kernels/window.h"

namespace lowbit {

// The sums of the codes in each window: those of each pixel first, then of the pixels, 16 windows at a time.
class Avx512PatchSums {
 public:
  explicit Avx512PatchSums(const ConvProblem& problem) : problem_(problem) {}

  // With slack behind for whole tiles of pixels.
  int64_t scratch_bytes() const {
    const int64_t output_height = problem_.output->height, output_width = problem_.output->width;
    const int64_t numbers = (RowsRead(problem_, output_height) + 1) * RowPixels() + output_height * output_width;
    return (numbers + 3 * kLanes) * static_cast<int64_t>(sizeof(int32_t));
  }

  // Of the output rows [begin, end), in `scratch`.
  LOWBIT_AVX512_INLINE const int32_t* Compute(const uint8_t* input, int64_t begin, int64_t end,
                                              int32_t* scratch) const {
    const Conv2d& g = problem_.op->geometry;
    const TensorLayout& layout = problem_.input_layout;
    const int64_t row_pixels = RowPixels(), rows = RowsRead(problem_, end - begin), width = problem_.output->width;
    int32_t* const pixels = scratch;
    const uint8_t* codes = input + FirstRowRead(problem_, begin) * layout.row;
    for (int64_t i = 0; i < rows * row_pixels; ++i, codes += layout.pixel) pixels[i] = PixelSum(codes, g.in_channels);
    // Windows one pixel apart. Whole vectors go beyond a row; the next row follows.
    int32_t* const side_by_side = pixels + rows * row_pixels + kLanes;
    int32_t* const windows = side_by_side + row_pixels + kLanes;
    const int64_t left = layout.offset % layout.row / layout.pixel - g.padding[1];
    for (int64_t y = 0; y < end - begin; ++y) {
      int32_t* const row = windows + y * width;
      int32_t* const all = g.stride[1] == 1 ? row : side_by_side;
      for (int64_t x = 0; x < (width - 1) * g.stride[1] + 1; x += kLanes) {
        __m512i sums = _mm512_setzero_si512();
        for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
          const int32_t* const from = pixels + (y * g.stride[0] + ky * g.dilation[0]) * row_pixels + left + x;
          for (int64_t kx = 0; kx < g.kernel[1]; ++kx) {
            sums = _mm512_add_epi32(sums, _mm512_loadu_si512(from + kx * g.dilation[1]));
          }
        }
        _mm512_storeu_si512(all + x, sums);
      }
      for (int64_t x = 0; x < width && all != row; ++x) row[x] = all[x * g.stride[1]];
    }
    return windows;
  }

 private:
  static constexpr int64_t kLanes = 16;

  int64_t RowPixels() const { return problem_.input_layout.row / problem_.input_layout.pixel; }

  static LOWBIT_AVX512_INLINE int32_t PixelSum(const uint8_t* codes, int64_t channels) {
    const __m128i zero = _mm_setzero_si128();
    __m128i sums = zero;
    int64_t c = 0;
    for (; c + 16 <= channels; c += 16) {
      const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + c));
      sums = _mm_add_epi32(sums, _mm_sad_epu8(some, zero));
    }
    if (c < channels) {
      const __mmask16 lanes = static_cast<__mmask16>((1U << (channels - c)) - 1);
      sums = _mm_add_epi32(sums, _mm_sad_epu8(_mm_maskz_loadu_epi8(lanes, codes + c), zero));
    }
    return _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_unpackhi_epi64(sums, sums)));
  }

  const ConvProblem problem_;
};

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX512_PATCH_SUMS_H_
