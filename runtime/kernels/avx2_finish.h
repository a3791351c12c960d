#ifndef LOWBIT_RUNTIME_KERNELS_AVX2_FINISH_H_
#define LOWBIT_RUNTIME_KERNELS_AVX2_FINISH_H_

// The end of the AVX2 kernels: FinishOne of conv_kernel.h for 16 output channels at once. Functions carry their target
// as an attribute, not the file as a compiler option, so that nothing inline of theirs can end up in code that runs on
// other processors.

#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/kernels/conv_kernel.h"

#define LOWBIT_AVX2 __attribute__((target("avx2")))
#define LOWBIT_AVX2_INLINE inline __attribute__((target("avx2"), always_inline))

namespace lowbit {

class Avx2Finish {
 public:
  static constexpr int64_t kChannels = 16;

  explicit Avx2Finish(const ConvProblem& problem) : problem_(problem) {
    const Epilogue& epilogue = problem.op->epilogue;
    const size_t channels = epilogue.multiplier.size();
    padded_ = (channels + kChannels - 1) / kChannels * kChannels;
    const auto pad = [&](const std::vector<float>& rows) {
      std::vector<float> wide(rows.size() / channels * padded_, 0);
      for (size_t i = 0; i < rows.size(); ++i) wide[i / channels * padded_ + i % channels] = rows[i];
      return wide;
    };
    multiplier_ = pad(epilogue.multiplier);
    patch_multiplier_ = pad(epilogue.patch_multiplier);
    bias_ = pad(epilogue.bias);
    has_classes_ = epilogue.bias.size() > channels;
    const Shortcut& shortcut = epilogue.shortcut;
    for (int64_t o = 0; o < static_cast<int64_t>(padded_); o += 8) {
      const int64_t from = o - shortcut.before;
      ShortcutKind kind = ShortcutKind::kNone;
      if (shortcut.tensor >= 0 && from + 8 > 0 && from < problem.shortcut_channels) {
        kind = from >= 0 && from + 8 <= problem.shortcut_channels ? ShortcutKind::kAll : ShortcutKind::kSome;
      }
      shortcuts_.push_back(kind);
    }
  }

  bool needs_patch_sums() const { return !patch_multiplier_.empty(); }

  // `sums` of the channels [first, first + 8) and [first + 8, first + 16), of which those beyond the last are ignored.
  LOWBIT_AVX2_INLINE void Finish(const ConvBuffers& buffers, int64_t y, int64_t x, int64_t first, __m256i low,
                                 __m256i high, int32_t patch_sum) const {
    const TensorLayout& layout = problem_.output_layout;
    const int64_t at = layout.offset + y * layout.row + x * layout.pixel + first;
    const size_t row = has_classes_ ? static_cast<size_t>(problem_.op->BiasClass(y, x)) * padded_ : 0;
    const __m256 v0 = Value(buffers, y, x, first, row, low, patch_sum);
    const __m256 v1 = Value(buffers, y, x, first + 8, row, high, patch_sum);
    const int64_t channels = static_cast<int64_t>(problem_.op->epilogue.multiplier.size()) - first;
    if (layout.is_codes) {
      const __m256 upper = _mm256_set1_ps(problem_.op->epilogue.upper);
      const __m256i q0 = _mm256_cvtps_epi32(_mm256_min_ps(v0, upper));
      const __m256i q1 = _mm256_cvtps_epi32(_mm256_min_ps(v1, upper));
      // The halves of the pack are [q0 low, q1 low] and [q0 high, q1 high].
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(q0, q1), 0xd8);
      const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      uint8_t* const out = static_cast<uint8_t*>(buffers.output) + at;
      if (channels >= kChannels) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
      } else {
        alignas(16) uint8_t some[kChannels];
        _mm_store_si128(reinterpret_cast<__m128i*>(some), bytes);
        std::memcpy(out, some, static_cast<size_t>(channels));
      }
    } else {
      alignas(32) float some[kChannels];
      _mm256_store_ps(some, v0);
      _mm256_store_ps(some + 8, v1);
      std::memcpy(static_cast<float*>(buffers.output) + at, some,
                  static_cast<size_t>(std::min(channels, kChannels)) * sizeof(float));
    }
  }

 private:
  enum class ShortcutKind : uint8_t { kNone, kAll, kSome };  // of 8 channels

  LOWBIT_AVX2_INLINE __m256 Value(const ConvBuffers& buffers, int64_t y, int64_t x, int64_t first, size_t row,
                                  __m256i sums, int32_t patch_sum) const {
    const size_t o = static_cast<size_t>(first);
    __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(multiplier_.data() + o));
    v = _mm256_add_ps(v, _mm256_loadu_ps(bias_.data() + row + o));
    if (needs_patch_sums()) {
      const __m256 patch = _mm256_set1_ps(static_cast<float>(patch_sum));
      v = _mm256_add_ps(v, _mm256_mul_ps(patch, _mm256_loadu_ps(patch_multiplier_.data() + o)));
    }
    if (shortcuts_[o / 8] != ShortcutKind::kNone) {
      const __m256 multiplier = _mm256_set1_ps(problem_.op->epilogue.shortcut.multiplier);
      v = _mm256_add_ps(v, _mm256_mul_ps(LoadShortcut(buffers, y, x, first), multiplier));
    }
    return _mm256_max_ps(v, _mm256_set1_ps(problem_.op->epilogue.lower));
  }

  LOWBIT_AVX2_INLINE __m256 LoadShortcut(const ConvBuffers& buffers, int64_t y, int64_t x, int64_t first) const {
    const Shortcut& from = problem_.op->epilogue.shortcut;
    if (shortcuts_[static_cast<size_t>(first) / 8] == ShortcutKind::kSome) {
      alignas(32) float some[8];
      for (int64_t i = 0; i < 8; ++i) some[i] = ShortcutValue(problem_, buffers.shortcut, y, x, first + i);
      return _mm256_load_ps(some);
    }
    const TensorLayout& layout = problem_.shortcut_layout;
    const int64_t at =
        layout.offset + y * from.stride[0] * layout.row + x * from.stride[1] * layout.pixel + first - from.before;
    if (!layout.is_codes) return _mm256_loadu_ps(static_cast<const float*>(buffers.shortcut) + at);
    const __m128i codes =
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(static_cast<const uint8_t*>(buffers.shortcut) + at));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
  }

  ConvProblem problem_;
  size_t padded_ = 0;  // channels, with those that fill the last 16
  std::vector<float> multiplier_, patch_multiplier_, bias_;
  bool has_classes_ = false;
  std::vector<ShortcutKind> shortcuts_;  // of each 8 channels
};

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX2_FINISH_H_
