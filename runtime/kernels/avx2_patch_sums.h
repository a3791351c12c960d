#ifndef LOWBIT_RUNTIME_KERNELS_AVX2_PATCH_SUMS_H_
#define LOWBIT_RUNTIME_KERNELS_AVX2_PATCH_SUMS_H_

#include <immintrin.h>

#include <cstdint>
#include <vector>

#include "runtime/kernels/avx2_finish.h"
#include "runtime/kernels/window.h"

namespace lowbit {

// patch_sum of runtime/plan.h, of every output pixel, where weights have zero points.
class Avx2PatchSums {
 public:
  explicit Avx2PatchSums(const ConvProblem& problem) : problem_(problem) {
    if (problem.op->epilogue.patch_multiplier.empty()) return;
    window_ = MakeWindow(problem, kStep);
    for (const int64_t from : window_.weight_of) mask_.push_back(from < 0 ? 0 : 0xff);
  }

  // A multiple of 64.
  int64_t scratch_bytes() const {
    if (mask_.empty()) return 0;
    return (problem_.output->width * problem_.output->height * static_cast<int64_t>(sizeof(int32_t)) + 63) / 64 * 64;
  }

  // Of the rows [begin, end), into `scratch`.
  LOWBIT_AVX2_INLINE void Make(const uint8_t* input, int64_t begin, int64_t end, uint8_t* scratch) const {
    if (mask_.empty()) return;
    auto* sums = reinterpret_cast<int32_t*>(scratch) + begin * problem_.output->width;
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t x = 0; x < problem_.output->width; ++x) *sums++ = Sum(input + WindowStart(problem_, y, x));
    }
  }

  // Those of a row; nullptr if there are none.
  const int32_t* Row(const uint8_t* scratch, int64_t y) const {
    if (mask_.empty()) return nullptr;
    return reinterpret_cast<const int32_t*>(scratch) + y * problem_.output->width;
  }

 private:
  static constexpr int64_t kStep = 8;

  LOWBIT_AVX2_INLINE int32_t Sum(const uint8_t* start) const {
    const uint8_t* mask = mask_.data();
    __m128i sum = _mm_setzero_si128();
    for (const int64_t offset : window_.offsets) {
      const __m128i codes = _mm_and_si128(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(start + offset)),
                                          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(mask)));
      sum = _mm_add_epi64(sum, _mm_sad_epu8(codes, _mm_setzero_si128()));
      mask += kStep;
    }
    return _mm_cvtsi128_si32(sum);
  }

  const ConvProblem problem_;
  Window window_;
  std::vector<uint8_t> mask_;  // of each byte of the window's steps
};

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_AVX2_PATCH_SUMS_H_
