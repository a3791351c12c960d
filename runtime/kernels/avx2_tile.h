#ifndef LOWBIT_RUNTIME_KERNELS_AVX2_TILE_H_
#define LOWBIT_RUNTIME_KERNELS_AVX2_TILE_H_

// What the AVX2 kernels that multiply have in common: the sums of 4 pixels (or tiles) by 16 channels in 8 registers,
// and a round of them.

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "runtime/kernels/avx2_finish.h"

namespace lowbit {

// A round takes 4 bytes of each pixel, spread over a register, and 64 bytes of weights, [16 channels, 4 bytes].
// `add(sums, codes, weights)` adds their products.
struct Avx2Tile {
  static constexpr int kPixels = 4;

  __m256i sums[kPixels][2];

  LOWBIT_AVX2_INLINE void Clear() {
    for (auto& of_pixel : sums) of_pixel[0] = of_pixel[1] = _mm256_setzero_si256();
  }

  template <typename Add>
  LOWBIT_AVX2_INLINE void AddRound(const void* weights, const void* pixel0, const void* pixel1, const void* pixel2,
                                   const void* pixel3, const Add& add) {
    const auto* const w = static_cast<const __m256i*>(weights);
    const __m256i w0 = _mm256_load_si256(w), w1 = _mm256_load_si256(w + 1);
    AddPixel(0, Spread(pixel0), w0, w1, add);
    AddPixel(1, Spread(pixel1), w0, w1, add);
    AddPixel(2, Spread(pixel2), w0, w1, add);
    AddPixel(3, Spread(pixel3), w0, w1, add);
  }

  // The pixels x to x + 3 of a row from their 32-bit sums.
  LOWBIT_AVX2_INLINE void Finish(const Avx2Finish::Row& row, int64_t x) const {
    Avx2Finish::FinishTwo(row, x, {{sums[0][0], sums[0][1]}, {sums[1][0], sums[1][1]}});
    Avx2Finish::FinishTwo(row, x + 2, {{sums[2][0], sums[2][1]}, {sums[3][0], sums[3][1]}});
  }

  static LOWBIT_AVX2_INLINE __m256i Spread(const void* bytes) {
    int32_t four;
    std::memcpy(&four, bytes, sizeof(four));
    return _mm256_set1_epi32(four);
  }

  static LOWBIT_AVX2_INLINE void StorePixel(__m256i low, __m256i high, int32_t (&out)[16]) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out), low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + 8), high);
  }

 private:
  template <typename Add>
  LOWBIT_AVX2_INLINE void AddPixel(int p, __m256i codes, __m256i w0, __m256i w1, const Add& add) {
    sums[p][0] = Opaque(add(sums[p][0], codes, w0));
    sums[p][1] = Opaque(add(sums[p][1], codes, w1));
  }
};

// Bytes, in pairs, to 16-bit sums; and 16-bit words, in pairs, to 32-bit ones.
struct Avx2AddBytes {
  LOWBIT_AVX2_INLINE __m256i operator()(__m256i sums, __m256i codes, __m256i weights) const {
    return _mm256_add_epi16(sums, _mm256_maddubs_epi16(codes, weights));
  }
};
struct Avx2AddWords {
  LOWBIT_AVX2_INLINE __m256i operator()(__m256i sums, __m256i codes, __m256i weights) const {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(codes, weights));
  }
};

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX2_TILE_H_
