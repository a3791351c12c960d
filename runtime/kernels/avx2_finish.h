#ifndef LOWBIT_RUNTIME_KERNELS_AVX2_FINISH_H_
#define LOWBIT_RUNTIME_KERNELS_AVX2_FINISH_H_

// The end of the AVX2 kernels: FinishOne of conv_kernel.h for 16 output channels at once. Functions carry their target
// as an attribute, not the file as a compiler option, so that nothing inline of theirs can end up in code that runs on
// other processors.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/kernels/conv_kernel.h"

#define LOWBIT_AVX2 __attribute__((target("avx2")))
#define LOWBIT_AVX2_INLINE inline __attribute__((target("avx2"), always_inline))

namespace lowbit {

// `sums` as a value that the compiler knows nothing of. Left to itself g++ adds the products of several rounds to each
// other before it adds them to the sums, and runs out of registers.
LOWBIT_AVX2_INLINE __m256i Opaque(__m256i sums) {
  asm("" : "+x"(sums));
  return sums;
}

class Avx2Finish {
 public:
  enum class ShortcutKind : uint8_t { kNone, kAll, kSome };  // of 8 channels

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
    if (problem.output_layout.is_codes) {
      lowest_code_ = static_cast<char>(static_cast<int>(std::nearbyint(epilogue.lower)));
    }
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

  // What the pixels of a row need. The first two are made fast: 16 channels of codes, no patch sums.
  enum class Kind : uint8_t { kCodes, kCodesAndShortcut, kOther };

  // All that the pixels of a row have in common, for the channels [first, first + 16). By value, so that what is
  // written to the output cannot be taken to change it.
  struct Row {
    Kind kind;
    const Avx2Finish* finish;
    const ConvBuffers* buffers;
    int64_t y, first;
    const float* multiplier;
    const float* patch_multiplier;  // nullptr: none
    const int32_t* patch_sums;      // of each pixel
    const float* bias;              // of the row's first class
    const int32_t* column_class;    // nullptr: there is one class
    int64_t class_step;
    bool has_shortcut;
    ShortcutKind shortcut_kind[2];
    const uint8_t* shortcut;  // where channel `first` of pixel 0 is
    int64_t shortcut_step;    // bytes
    bool shortcut_is_codes;
    __m256 shortcut_multiplier, lower, upper;
    __m256i lowest_code;  // `lower`, rounded, as bytes
    bool is_codes;
    uint8_t* output;
    int64_t output_step;  // bytes
    int64_t channels;     // that there are from `first` on
  };

  LOWBIT_AVX2_INLINE Row MakeRow(const ConvBuffers& buffers, int64_t y, int64_t first,
                                 const int32_t* patch_sums = nullptr) const {
    const ConvOp& op = *problem_.op;
    const Shortcut& from = op.epilogue.shortcut;
    const TensorLayout& out = problem_.output_layout;
    const TensorLayout& side = problem_.shortcut_layout;
    const size_t o = static_cast<size_t>(first);
    const int64_t out_bytes = out.is_codes ? 1 : 4;
    const int64_t side_bytes = side.is_codes ? 1 : 4;
    Row row;
    row.finish = this;
    row.buffers = &buffers;
    row.y = y;
    row.first = first;
    row.multiplier = multiplier_.data() + o;
    row.patch_multiplier = needs_patch_sums() ? patch_multiplier_.data() + o : nullptr;
    row.patch_sums = patch_sums;
    row.class_step = static_cast<int64_t>(padded_);
    row.bias = bias_.data() + o;
    row.column_class = nullptr;
    if (has_classes_) {
      row.bias += op.row_class[static_cast<size_t>(y)] * op.column_classes * row.class_step;
      row.column_class = op.column_class.data();
    }
    row.has_shortcut = from.tensor >= 0;
    row.shortcut_kind[0] = shortcuts_[o / 8];
    row.shortcut_kind[1] = shortcuts_[o / 8 + 1];
    row.shortcut_is_codes = side.is_codes;
    row.shortcut_step = from.stride[1] * side.pixel * side_bytes;
    row.shortcut = static_cast<const uint8_t*>(buffers.shortcut);
    if (row.shortcut != nullptr) {
      row.shortcut += (side.offset + y * from.stride[0] * side.row + first - from.before) * side_bytes;
    }
    row.shortcut_multiplier = _mm256_set1_ps(from.multiplier);
    row.lower = _mm256_set1_ps(op.epilogue.lower);
    row.upper = _mm256_set1_ps(op.epilogue.upper);
    row.lowest_code = _mm256_set1_epi8(lowest_code_);
    row.is_codes = out.is_codes;
    row.output = static_cast<uint8_t*>(buffers.output) + (out.offset + y * out.row + first) * out_bytes;
    row.output_step = out.pixel * out_bytes;
    row.channels = static_cast<int64_t>(op.epilogue.multiplier.size()) - first;
    row.kind = Kind::kOther;
    if (out.is_codes && row.channels >= kChannels && !needs_patch_sums()) {
      const auto both = [&](ShortcutKind kind) { return row.shortcut_kind[0] == kind && row.shortcut_kind[1] == kind; };
      if (both(ShortcutKind::kNone)) row.kind = Kind::kCodes;
      if (both(ShortcutKind::kAll) && side.is_codes) row.kind = Kind::kCodesAndShortcut;
    }
    return row;
  }

  // The pixels x and x + 1 of a row from their sums, [pixel][8 channels]. Of the channels [first, first + 16) those
  // beyond the last are ignored.
  static LOWBIT_AVX2_INLINE void FinishTwo(const Row& row, int64_t x, const __m256i (&sums)[2][2]) {
    if (row.kind == Kind::kCodes) {
      FinishCodes<false>(row, x, sums);
    } else if (row.kind == Kind::kCodesAndShortcut) {
      FinishCodes<true>(row, x, sums);
    } else {
      alignas(32) int32_t stored[2][kChannels];
      for (int pixel = 0; pixel < 2; ++pixel) {
        for (int half = 0; half < 2; ++half) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(stored[pixel]) + half, sums[pixel][half]);
        }
      }
      FinishOther(row, x, stored[0]);
      FinishOther(row, x + 1, stored[1]);
    }
  }

  // The pixels [begin, end) of the row: sums[x - begin].
  static LOWBIT_AVX2_INLINE void FinishRow(const Row& row, const int32_t (*sums)[kChannels], int64_t begin,
                                           int64_t end) {
    int64_t x = begin;
    for (; x + 2 <= end; x += 2) {
      const auto* const from = reinterpret_cast<const __m256i*>(sums[x - begin]);
      FinishTwo(row, x, {{from[0], from[1]}, {from[2], from[3]}});
    }
    if (x < end) FinishOther(row, x, sums[x - begin]);
  }

 private:
  template <bool kShortcut>
  static LOWBIT_AVX2_INLINE void FinishCodes(const Row& row, int64_t x, const __m256i (&sums)[2][2]) {
    __m256i codes[2][2];
    for (int pixel = 0; pixel < 2; ++pixel) {
      const float* const bias = Bias(row, x + pixel);
      for (int half = 0; half < 2; ++half) {
        __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[pixel][half]), _mm256_loadu_ps(row.multiplier + 8 * half));
        v = _mm256_add_ps(v, _mm256_loadu_ps(bias + 8 * half));
        if (kShortcut) {
          const uint8_t* const from = row.shortcut + (x + pixel) * row.shortcut_step + 8 * half;
          v = _mm256_add_ps(v, _mm256_mul_ps(LoadCodes(from), row.shortcut_multiplier));
        }
        codes[pixel][half] = ToCode(row, v);
      }
    }
    // The packs work on each half of a register by itself, and leave [a low, b low, c low, d low | a high, ...] in
    // 4-byte pieces, a to d being 8 channels each. What is below the lowest code becomes 0 in them at most.
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i packed =
        _mm256_packus_epi16(_mm256_packs_epi32(codes[0][0], codes[0][1]), _mm256_packs_epi32(codes[1][0], codes[1][1]));
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_max_epu8(packed, row.lowest_code), in_order);
    uint8_t* const out = row.output + x * row.output_step;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(bytes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + row.output_step), _mm256_extracti128_si256(bytes, 1));
  }

  // Rounded, and no more than `upper`; NaN, and whatever is below all integers, becomes the lowest integer.
  static LOWBIT_AVX2_INLINE __m256i ToCode(const Row& row, __m256 v) {
    return _mm256_cvtps_epi32(_mm256_min_ps(row.upper, v));
  }

  static LOWBIT_AVX2_INLINE const float* Bias(const Row& row, int64_t x) {
    return row.column_class == nullptr ? row.bias : row.bias + row.column_class[x] * row.class_step;
  }

  static LOWBIT_AVX2_INLINE __m256 LoadCodes(const uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }

  // Any pixel.
  LOWBIT_AVX2 static void FinishOther(const Row& row, int64_t x, const int32_t (&sums)[kChannels]) {
    alignas(32) float values[kChannels];
    _mm256_store_ps(values, Value<0>(row, x, sums));
    _mm256_store_ps(values + 8, Value<1>(row, x, sums));
    const size_t channels = static_cast<size_t>(std::min(row.channels, kChannels));
    uint8_t* const out = row.output + x * row.output_step;
    if (!row.is_codes) {
      std::memcpy(out, values, channels * sizeof(float));
      return;
    }
    const __m256i words =
        _mm256_packs_epi32(ToCode(row, _mm256_load_ps(values)), ToCode(row, _mm256_load_ps(values + 8)));
    const __m256i in_order =
        _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words), _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
    alignas(32) uint8_t codes[2 * kChannels];
    _mm256_store_si256(reinterpret_cast<__m256i*>(codes), in_order);
    std::memcpy(out, codes, channels);
  }

  template <int kHalf>
  static LOWBIT_AVX2_INLINE __m256 Value(const Row& row, int64_t x, const int32_t* sums) {
    const __m256i of_half = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + 8 * kHalf));
    __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(of_half), _mm256_loadu_ps(row.multiplier + 8 * kHalf));
    v = _mm256_add_ps(v, _mm256_loadu_ps(Bias(row, x) + 8 * kHalf));
    if (row.patch_multiplier != nullptr) {
      const __m256 patch = _mm256_set1_ps(static_cast<float>(row.patch_sums[x]));
      v = _mm256_add_ps(v, _mm256_mul_ps(patch, _mm256_loadu_ps(row.patch_multiplier + 8 * kHalf)));
    }
    if (row.shortcut_kind[kHalf] != ShortcutKind::kNone) {
      v = _mm256_add_ps(v, _mm256_mul_ps(LoadShortcut<kHalf>(row, x), row.shortcut_multiplier));
    } else if (row.has_shortcut) {
      v = _mm256_add_ps(v, _mm256_setzero_ps());  // -0 becomes 0
    }
    return _mm256_max_ps(v, row.lower);
  }

  template <int kHalf>
  static LOWBIT_AVX2_INLINE __m256 LoadShortcut(const Row& row, int64_t x) {
    if (row.shortcut_kind[kHalf] == ShortcutKind::kSome) {
      alignas(32) float some[8];
      for (int64_t i = 0; i < 8; ++i) {
        some[i] = ShortcutValue(row.finish->problem_, row.buffers->shortcut, row.y, x, row.first + 8 * kHalf + i);
      }
      return _mm256_load_ps(some);
    }
    const uint8_t* const from = row.shortcut + x * row.shortcut_step;
    if (!row.shortcut_is_codes) return _mm256_loadu_ps(reinterpret_cast<const float*>(from) + 8 * kHalf);
    return LoadCodes(from + 8 * kHalf);
  }

  ConvProblem problem_;
  size_t padded_ = 0;  // channels, with those that fill the last 16
  std::vector<float> multiplier_, patch_multiplier_, bias_;
  bool has_classes_ = false;
  char lowest_code_ = 0;                 // a byte
  std::vector<ShortcutKind> shortcuts_;  // of each 8 channels
};

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX2_FINISH_H_
