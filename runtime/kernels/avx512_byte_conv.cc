// Bytes on AVX-512 with VNNI: 8 pixels by 32 channels at a time, or 16 by 16, their 32-bit sums in 16 registers.
//
// A round takes 4 neighbouring bytes of each pixel's window, spread over a register, and the weights for them of 16
// channels, [16 channels, 4] in one register. vpdpbusd adds the 4 products of each channel to its sum, exactly whatever
// the bytes are: 128 products a cycle where there are two units for it.

#include <cstring>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/avx512_conv.h"
#include "runtime/kernels/window.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx512_patch_sums.h"
#include "runtime/kernels/avx512_tiles.h"
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = kAvx512Block;

// kRounds: of a step, which takes so many times 4 bytes.
template <int kRounds>
class Avx512ByteConv : public ConvKernel {
 public:
  explicit Avx512ByteConv(const ConvProblem& problem)
      : problem_(problem), window_(MakeWindow(problem, kStepBytes)), finish_(problem), patch_sums_(problem) {
    weights_ = LayOutWeights<int8_t>(problem, window_, kBlock, 4);
  }

  const char* name() const override { return "avx512 bytes"; }

  int64_t scratch_bytes() const override {
    return static_cast<int64_t>(sizeof(Avx512Scratch)) + (finish_.needs_patch_sums() ? patch_sums_.scratch_bytes() : 0);
  }

  LOWBIT_AVX512 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    if (begin >= end) return;
    const int32_t* patch_sums = nullptr;
    if (finish_.needs_patch_sums()) {
      auto* const scratch = reinterpret_cast<int32_t*>(buffers.scratch + sizeof(Avx512Scratch));
      patch_sums = patch_sums_.Compute(buffers.input, begin, end, scratch);
    }
    RunAvx512Tiles<1>(*this, problem_, finish_, buffers.input, buffers, patch_sums, begin, end);
  }

  template <int kPixels, int kBlocks>
  LOWBIT_AVX512 __attribute__((noinline)) void Sums(Avx512Scratch* scratch, int64_t first, int64_t block) const {
    const uint8_t* const* const starts = scratch->starts + first;
    const int64_t* const offsets = window_.offsets.data();
    const int64_t steps = window_.steps();
    const int64_t block_bytes = steps * kStepBytes * kBlock;
    const int8_t* w = weights_.data() + block * block_bytes;
    Avx512Tile<kPixels, kBlocks> tile;
    tile.Clear();
    for (int64_t step = 0; step < steps; ++step, w += kStepBytes * kBlock) {
      __m512i weights[kRounds][kBlocks];
      for (int round = 0; round < kRounds; ++round) {
        for (int b = 0; b < kBlocks; ++b)
          weights[round][b] = _mm512_load_si512(w + b * block_bytes + round * 4 * kBlock);
      }
#pragma GCC unroll 16
      for (int p = 0; p < kPixels; ++p) {
        const uint8_t* const codes = starts[p] + offsets[step];
        __m512i spread[kRounds];
        for (int round = 0; round < kRounds; ++round) spread[round] = Spread(codes + 4 * round);
        if constexpr (kRounds == 4 && kBlocks == 1) {
          // One block leaves too few loads in a cycle for all of them: every other one is made by a shuffle.
          const __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
          spread[1] = _mm512_shuffle_epi32(all, _MM_PERM_BBBB);
          spread[3] = _mm512_shuffle_epi32(all, _MM_PERM_DDDD);
        }
#pragma GCC unroll 4
        for (int round = 0; round < kRounds; ++round) {
          for (int b = 0; b < kBlocks; ++b) {
            tile.sums[p][b] = Opaque(_mm512_dpbusd_epi32(tile.sums[p][b], spread[round], weights[round][b]));
          }
        }
      }
    }
    tile.Store(first, scratch);
  }

 private:
  static constexpr int64_t kStepBytes = 4 * kRounds;

  static LOWBIT_AVX512_INLINE __m512i Spread(const uint8_t* bytes) {
    int32_t four;
    std::memcpy(&four, bytes, sizeof(four));
    return _mm512_set1_epi32(four);
  }

  const ConvProblem problem_;
  const Window window_;
  const Avx512Finish finish_;
  const Avx512PatchSums patch_sums_;
  AlignedVector<int8_t> weights_;  // [block, round, channel of the block, 4]
};

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx512ByteConv(const ConvProblem& problem) {
  if (problem.op->geometry.groups != 1) return nullptr;
  if (problem.input_layout.pixel % 16 == 0) return std::make_unique<Avx512ByteConv<4>>(problem);
  return std::make_unique<Avx512ByteConv<1>>(problem);
}

#else

std::unique_ptr<ConvKernel> MakeAvx512ByteConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
