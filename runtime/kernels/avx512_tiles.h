#ifndef LOWBIT_RUNTIME_KERNELS_AVX512_TILES_H_
#define LOWBIT_RUNTIME_KERNELS_AVX512_TILES_H_

// How the AVX-512 kernels go over an image: by tiles of pixels, counted row by row so that short rows leave none half
// empty, and one or two blocks of 16 output channels.

#include <algorithm>
#include <cstdint>

#include "runtime/kernels/avx512_finish.h"
#include "runtime/kernels/window.h"

namespace lowbit {

constexpr int64_t kAvx512Block = Avx512Finish::kChannels;
// So many pixels are finished together.
constexpr int64_t kAvx512Pixels = 64;

struct Avx512Scratch {
  alignas(64) int32_t sums[2][kAvx512Pixels][kAvx512Block];  // of two blocks of channels
  const uint8_t* starts[kAvx512Pixels];                      // of each pixel's window
  const int32_t* patch_sums;                                 // of the first of the pixels, or nullptr
};

// Sums in registers. (Loops over them are unrolled by request: g++ would keep the array in memory otherwise.)
template <int kPixels, int kBlocks>
struct Avx512Tile {
  __m512i sums[kPixels][kBlocks];

  LOWBIT_AVX512_INLINE void Clear() {
#pragma GCC unroll 16
    for (auto& of_pixel : sums) {
      for (__m512i& sum : of_pixel) sum = _mm512_setzero_si512();
    }
  }

  LOWBIT_AVX512_INLINE void Store(int64_t first, Avx512Scratch* scratch) const {
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p) {
      for (int b = 0; b < kBlocks; ++b) _mm512_store_si512(scratch->sums[b][first + p], sums[p][b]);
    }
  }
};

// Where the windows of the pixels [first, last) start. The last pixel fills up the last tile.
template <int64_t kCodesInByte>
LOWBIT_AVX512_INLINE void FindStarts(const ConvProblem& problem, const uint8_t* input, int64_t first, int64_t last,
                                     const uint8_t** starts) {
  const int64_t width = problem.output->width;
  const int64_t step = problem.op->geometry.stride[1] * problem.input_layout.pixel / kCodesInByte;
  int64_t y = first / width, x = first % width;
  int64_t i = 0;
  while (i < last - first) {
    const uint8_t* start = input + WindowStart(problem, y, x) / kCodesInByte;
    const int64_t row_end = std::min(i + width - x, last - first);
    for (; i < row_end; ++i, start += step) starts[i] = start;
    ++y;
    x = 0;
  }
  for (; i % 16 != 0; ++i) starts[i] = starts[i - 1];
}

// The output rows [begin, end). `input`: where the tensor's memory starts, in which a code takes 1 / kCodesInByte
// bytes. `patch_sums`: of the pixels from the first of these rows on, or nullptr where nothing asks for them.
// `tiles.Sums<kPixels, kBlocks>(scratch, first, block)`, which is not inlined, makes scratch->sums of the pixels
// [first, first + kPixels) and the blocks [block, block + kBlocks).
template <int64_t kCodesInByte, typename Tiles>
LOWBIT_AVX512_INLINE void RunAvx512Tiles(const Tiles& tiles, const ConvProblem& problem, const Avx512Finish& finish,
                                         const uint8_t* input, const ConvBuffers& buffers, const int32_t* patch_sums,
                                         int64_t begin, int64_t end) {
  auto* const scratch = reinterpret_cast<Avx512Scratch*>(buffers.scratch);
  scratch->patch_sums = nullptr;
  const int64_t width = problem.output->width;
  const int64_t blocks = (problem.op->geometry.out_channels + kAvx512Block - 1) / kAvx512Block;
  for (int64_t first = begin * width; first < end * width; first += kAvx512Pixels) {
    const int64_t last = std::min(first + kAvx512Pixels, end * width);
    FindStarts<kCodesInByte>(problem, input, first, last, scratch->starts);
    if (patch_sums != nullptr) scratch->patch_sums = patch_sums + (first - begin * width);
    for (int64_t block = 0; block < blocks; block += 2) {
      if (block + 1 < blocks) {
        for (int64_t i = 0; i < last - first; i += 8) tiles.template Sums<8, 2>(scratch, i, block);
      } else {
        for (int64_t i = 0; i < last - first; i += 16) tiles.template Sums<16, 1>(scratch, i, block);
      }
      for (int64_t b = 0; b < std::min<int64_t>(blocks - block, 2); ++b) {
        finish.Finish(buffers, (block + b) * kAvx512Block, scratch->sums[b], scratch->patch_sums, first, last);
      }
    }
  }
}

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX512_TILES_H_
