#ifndef LOWBIT_RUNTIME_KERNELS_AVX512_FINISH_H_
#define LOWBIT_RUNTIME_KERNELS_AVX512_FINISH_H_

// The end of the AVX-512 kernels: FinishOne of conv_kernel.h for 16 output channels at once, masks leaving out those
// that there are not. Functions carry their target as an attribute, as in avx2_finish.h.

// g++ 12 takes what its own header leaves undefined on purpose for a mistake.
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <algorithm>
#include <cstdint>

#include "runtime/kernels/conv_kernel.h"

#define LOWBIT_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define LOWBIT_AVX512_INLINE inline __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline))

namespace lowbit {

// `sums` as a value that the compiler knows nothing of, so that g++ leaves it in its register: see avx2_finish.h.
LOWBIT_AVX512_INLINE __m512i Opaque(__m512i sums) {
  asm("" : "+v"(sums));
  return sums;
}

class Avx512Finish {
 public:
  static constexpr int64_t kChannels = 16;

  explicit Avx512Finish(const ConvProblem& problem) : problem_(problem) {
    const Epilogue& epilogue = problem.op->epilogue;
    const bool has_shortcut = epilogue.shortcut.tensor >= 0;
    if (problem.output_layout.is_codes && !needs_patch_sums() && !HasClasses()) {
      if (!has_shortcut) case_ = Case::kCodes;
      if (has_shortcut && problem.shortcut_layout.is_codes) case_ = Case::kCodesAndShortcut;
    }
  }

  bool needs_patch_sums() const { return !problem_.op->epilogue.patch_multiplier.empty(); }

  // The pixels [begin, end), counted row by row: sums[pixel - begin] of the channels [channel, channel + 16), of which
  // those beyond the last are ignored.
  LOWBIT_AVX512_INLINE void Finish(const ConvBuffers& buffers, int64_t channel, const int32_t (*sums)[kChannels],
                                   const int32_t* patch_sums, int64_t begin, int64_t end) const {
    const int64_t width = problem_.output->width;
    for (int64_t pixel = begin; pixel < end;) {
      const int64_t y = pixel / width, x = pixel % width;
      const int64_t count = std::min(end - pixel, width - x);
      const int32_t(*const row_sums)[kChannels] = sums + (pixel - begin);
      const int32_t* const row_patch_sums = patch_sums == nullptr ? nullptr : patch_sums + (pixel - begin);
      switch (case_) {
        case Case::kCodes:
          FinishRow<Case::kCodes>(buffers, channel, row_sums, row_patch_sums, y, x, count);
          break;
        case Case::kCodesAndShortcut:
          FinishRow<Case::kCodesAndShortcut>(buffers, channel, row_sums, row_patch_sums, y, x, count);
          break;
        case Case::kAny:
          FinishRow<Case::kAny>(buffers, channel, row_sums, row_patch_sums, y, x, count);
          break;
      }
      pixel += count;
    }
  }

 private:
  // What most layers are, and the others: with sums or classes of biases, with floats in or out.
  enum class Case : uint8_t { kCodes, kCodesAndShortcut, kAny };

  bool HasClasses() const { return problem_.op->epilogue.bias.size() > problem_.op->epilogue.multiplier.size(); }

  // The lanes of 16 channels [channel, channel + 16) that are in [begin, end).
  static __mmask16 Lanes(int64_t channel, int64_t begin, int64_t end) {
    const auto below = [&](int64_t limit) {
      return (uint32_t{1} << std::clamp<int64_t>(limit - channel, 0, kChannels)) - 1;
    };
    return static_cast<__mmask16>(below(end) & ~below(begin));
  }

  // `count` pixels from (y, x) on.
  template <Case kCase>
  LOWBIT_AVX512_INLINE void FinishRow(const ConvBuffers& buffers, int64_t channel, const int32_t (*sums)[kChannels],
                                      const int32_t* patch_sums, int64_t y, int64_t x, int64_t count) const {
    const ConvOp& op = *problem_.op;
    const Epilogue& epilogue = op.epilogue;
    const int64_t channels = static_cast<int64_t>(epilogue.multiplier.size());
    const __mmask16 lanes = Lanes(channel, 0, channels);
    const __m512 multiplier = _mm512_maskz_loadu_ps(lanes, epilogue.multiplier.data() + channel);
    const float* const biases = epilogue.bias.data() + channel;
    const bool has_classes = kCase == Case::kAny && HasClasses();
    const __m512 only_bias = _mm512_maskz_loadu_ps(lanes, biases);
    const bool has_patches = kCase == Case::kAny && needs_patch_sums();
    const __m512 patch_multiplier =
        has_patches ? _mm512_maskz_loadu_ps(lanes, epilogue.patch_multiplier.data() + channel) : _mm512_setzero_ps();

    const Shortcut& from = epilogue.shortcut;
    const TensorLayout& side = problem_.shortcut_layout;
    const bool has_shortcut = kCase == Case::kAny ? from.tensor >= 0 : kCase == Case::kCodesAndShortcut;
    const bool side_is_codes = kCase == Case::kCodesAndShortcut || side.is_codes;
    const __mmask16 shortcut_lanes = Lanes(channel, from.before, from.before + problem_.shortcut_channels);
    const int64_t side_bytes = side_is_codes ? 1 : 4;
    const int64_t side_step = has_shortcut ? from.stride[1] * side.pixel * side_bytes : 0;
    const uint8_t* shortcut = static_cast<const uint8_t*>(buffers.shortcut);
    if (has_shortcut) {
      const int64_t at = side.offset + y * from.stride[0] * side.row + channel - from.before;
      shortcut += at * side_bytes + x * side_step;
    }
    const __m512 shortcut_multiplier = _mm512_set1_ps(from.multiplier);

    const __m512 lower = _mm512_set1_ps(epilogue.lower), upper = _mm512_set1_ps(epilogue.upper);
    const TensorLayout& layout = problem_.output_layout;
    const bool codes_out = kCase != Case::kAny || layout.is_codes;
    const int64_t out_bytes = codes_out ? 1 : 4;
    const int64_t out_step = layout.pixel * out_bytes;
    uint8_t* out = static_cast<uint8_t*>(buffers.output) +
                   (layout.offset + y * layout.row + x * layout.pixel + channel) * out_bytes;
    for (int64_t i = 0; i < count; ++i, out += out_step, shortcut += side_step) {
      __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[i])), multiplier);
      v = _mm512_add_ps(
          v, has_classes ? _mm512_maskz_loadu_ps(lanes, biases + op.BiasClass(y, x + i) * channels) : only_bias);
      if (has_patches) {
        const __m512 patch_sum = _mm512_set1_ps(static_cast<float>(patch_sums[i]));
        v = _mm512_add_ps(v, _mm512_mul_ps(patch_sum, patch_multiplier));
      }
      if (has_shortcut) {
        const __m512 added =
            side_is_codes ? _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(shortcut_lanes, shortcut)))
                          : _mm512_maskz_loadu_ps(shortcut_lanes, shortcut);
        v = _mm512_add_ps(v, _mm512_mul_ps(added, shortcut_multiplier));
      }
      v = _mm512_max_ps(v, lower);
      if (codes_out) {
        const __m512i codes = _mm512_cvtps_epi32(_mm512_min_ps(v, upper));
        // (The masked store is the slower one.)
        if (lanes == 0xffff) {
          _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(codes));
        } else {
          _mm_mask_storeu_epi8(out, lanes, _mm512_cvtepi32_epi8(codes));
        }
      } else {
        _mm512_mask_storeu_ps(out, lanes, v);
      }
    }
  }

  const ConvProblem problem_;
  Case case_ = Case::kAny;
};

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX512_FINISH_H_
