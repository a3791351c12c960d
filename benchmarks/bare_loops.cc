#include "benchmarks/bare_loops.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "runtime/cpu.h"

namespace lowbit {
namespace {

#define LOWBIT_AVX2 __attribute__((target("avx2")))
#define LOWBIT_AVX2_INLINE inline __attribute__((target("avx2"), always_inline))
#define LOWBIT_AVX512 __attribute__((target("avx512f,avx512vnni,avx512vpopcntdq")))
#define LOWBIT_AVX512_INLINE inline __attribute__((target("avx512f,avx512vnni,avx512vpopcntdq"), always_inline))

constexpr int64_t kDepth = 72;  // rounds over the same data: K = 288 bytes

alignas(64) uint8_t activations[8 * 4 * kDepth];
alignas(64) int8_t weights[128 * kDepth];

LOWBIT_AVX2_INLINE __m256i Load(const void* from) { return _mm256_load_si256(static_cast<const __m256i*>(from)); }

LOWBIT_AVX2_INLINE __m256i Spread(const uint8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, 4);
  return _mm256_set1_epi32(four);
}

LOWBIT_AVX2_INLINE void Use(__m256i value) { asm volatile("" : : "x"(value)); }

// 4 pixels by 16 channels, as the kernels do it.
template <typename Accumulate>
LOWBIT_AVX2_INLINE void FourByTwo(int64_t rounds, const Accumulate& add) {
  const __m256i zero = _mm256_setzero_si256();
  for (int64_t left = rounds; left > 0; left -= kDepth) {
    __m256i s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero;
    const uint8_t* a = activations;
    for (const int8_t* w = weights; w < weights + 64 * kDepth; w += 64, a += 4) {
      const __m256i w0 = Load(w), w1 = Load(w + 32);
      const __m256i a0 = Spread(a), a1 = Spread(a + 4 * kDepth), a2 = Spread(a + 8 * kDepth),
                    a3 = Spread(a + 12 * kDepth);
      s0 = add(s0, a0, w0);
      s1 = add(s1, a0, w1);
      s2 = add(s2, a1, w0);
      s3 = add(s3, a1, w1);
      s4 = add(s4, a2, w0);
      s5 = add(s5, a2, w1);
      s6 = add(s6, a3, w0);
      s7 = add(s7, a3, w1);
    }
    Use(s0), Use(s1), Use(s2), Use(s3), Use(s4), Use(s5), Use(s6), Use(s7);
  }
}

struct AddBytes16 {
  LOWBIT_AVX2_INLINE __m256i operator()(__m256i s, __m256i a, __m256i w) const {
    return _mm256_add_epi16(s, _mm256_maddubs_epi16(a, w));
  }
};
struct AddBytes32 {
  LOWBIT_AVX2_INLINE __m256i operator()(__m256i s, __m256i a, __m256i w) const {
    return _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(a, w), _mm256_set1_epi16(1)));
  }
};
struct AddWords32 {
  LOWBIT_AVX2_INLINE __m256i operator()(__m256i s, __m256i a, __m256i w) const {
    return _mm256_add_epi32(s, _mm256_madd_epi16(a, w));
  }
};

LOWBIT_AVX2 void RunBytes16(int64_t rounds) { FourByTwo(rounds, AddBytes16()); }
LOWBIT_AVX2 void RunBytes32(int64_t rounds) { FourByTwo(rounds, AddBytes32()); }
LOWBIT_AVX2 void RunWords32(int64_t rounds) { FourByTwo(rounds, AddWords32()); }

// 4 pixels by 4 words of 64 bits; a round is a word of each pixel.
LOWBIT_AVX2 void RunXnor(int64_t rounds) {
  const __m256i counts =
      _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(15);
  const auto add = [&](__m256i s, __m256i a, __m256i w) LOWBIT_AVX2 {
    const __m256i x = _mm256_xor_si256(a, w);
    const __m256i of_low = _mm256_shuffle_epi8(counts, _mm256_and_si256(x, low));
    const __m256i of_high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(x, 4), low));
    return _mm256_add_epi8(_mm256_add_epi8(s, of_low), of_high);
  };
  for (int64_t left = rounds; left > 0; left -= kDepth / 8) {
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
    const uint8_t* a = activations;
    for (const int8_t* w = weights; w < weights + 32 * (kDepth / 8); w += 32, a += 8) {
      const __m256i w0 = Load(w);
      s0 = add(s0, _mm256_set1_epi64x(*reinterpret_cast<const long long*>(a)), w0);
      s1 = add(s1, _mm256_set1_epi64x(*reinterpret_cast<const long long*>(a + 4 * kDepth)), w0);
      s2 = add(s2, _mm256_set1_epi64x(*reinterpret_cast<const long long*>(a + 8 * kDepth)), w0);
      s3 = add(s3, _mm256_set1_epi64x(*reinterpret_cast<const long long*>(a + 12 * kDepth)), w0);
    }
    Use(s0), Use(s1), Use(s2), Use(s3);
  }
}

// 32 pixels by 4 channels; a round is 4 bits of each pixel.
LOWBIT_AVX2 void RunTables(int64_t rounds) {
  for (int64_t left = rounds; left > 0; left -= kDepth / 2) {
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
    const uint8_t* a = activations;
    for (const int8_t* w = weights; w < weights + 64 * (kDepth / 2); w += 64, a += 32) {
      const __m256i index = Load(a);
      const auto table = [&](int i) LOWBIT_AVX2 {
        return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(w) + i));
      };
      s0 = _mm256_add_epi8(s0, _mm256_shuffle_epi8(table(0), index));
      s1 = _mm256_add_epi8(s1, _mm256_shuffle_epi8(table(1), index));
      s2 = _mm256_add_epi8(s2, _mm256_shuffle_epi8(table(2), index));
      s3 = _mm256_add_epi8(s3, _mm256_shuffle_epi8(table(3), index));
    }
    Use(s0), Use(s1), Use(s2), Use(s3);
  }
}

// 8 pixels by 32 channels, as the kernels do it.
template <typename Accumulate>
LOWBIT_AVX512_INLINE void EightByTwo(int64_t rounds, const Accumulate& add) {
  for (int64_t left = rounds; left > 0; left -= kDepth) {
    __m512i sums[8][2] = {};
    const uint8_t* a = activations;
    for (const int8_t* w = weights; w < weights + 128 * kDepth; w += 128, a += 4) {
      const __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + 64);
#pragma GCC unroll 8
      for (int p = 0; p < 8; ++p) {
        int32_t four;
        __builtin_memcpy(&four, a + p * 4 * kDepth, 4);
        const __m512i spread = _mm512_set1_epi32(four);
        add(&sums[p][0], spread, w0);
        add(&sums[p][1], spread, w1);
      }
    }
    for (auto& of_pixel : sums) asm volatile("" : : "v"(of_pixel[0]), "v"(of_pixel[1]));
  }
}

// (The empty asm leaves each sum in its register.)
struct AddBytesVnni {
  LOWBIT_AVX512_INLINE void operator()(__m512i* s, __m512i a, __m512i w) const {
    *s = _mm512_dpbusd_epi32(*s, a, w);
    asm("" : "+v"(*s));
  }
};
struct AddBits {
  LOWBIT_AVX512_INLINE void operator()(__m512i* s, __m512i a, __m512i w) const {
    *s = _mm512_add_epi32(*s, _mm512_popcnt_epi32(_mm512_and_si512(a, w)));
    asm("" : "+v"(*s));
  }
};

LOWBIT_AVX512 void RunBytesVnni(int64_t rounds) { EightByTwo(rounds, AddBytesVnni()); }
LOWBIT_AVX512 void RunBits(int64_t rounds) { EightByTwo(rounds, AddBits()); }

int64_t Run(Cpu needed, void (*loop)(int64_t), int64_t rounds, int64_t macs_of_a_round) {
  if (RunnableCpus().back() < needed) return 0;
  loop(rounds);
  return rounds * macs_of_a_round;
}

}  // namespace

// Rounds are whole passes over the data.
int64_t BareBytes16(int64_t passes) { return Run(Cpu::kAvx2, RunBytes16, passes * kDepth, 4 * 16 * 4); }
int64_t BareBytes32(int64_t passes) { return Run(Cpu::kAvx2, RunBytes32, passes * kDepth, 4 * 16 * 4); }
int64_t BareWords32(int64_t passes) { return Run(Cpu::kAvx2, RunWords32, passes * kDepth, 4 * 16 * 2); }
int64_t BareXnor(int64_t passes) { return Run(Cpu::kAvx2, RunXnor, passes * (kDepth / 8), 4 * 4 * 64); }
int64_t BareTables(int64_t passes) { return Run(Cpu::kAvx2, RunTables, passes * (kDepth / 2), 32 * 4 * 4); }
int64_t BareBytesVnni(int64_t passes) { return Run(Cpu::kAvx512Vnni, RunBytesVnni, passes * kDepth, 8 * 32 * 4); }
int64_t BareBits(int64_t passes) { return Run(Cpu::kAvx512Popcnt, RunBits, passes * kDepth, 8 * 32 * 32); }

}  // namespace lowbit

#else

namespace lowbit {

int64_t BareBytes16(int64_t) { return 0; }
int64_t BareBytes32(int64_t) { return 0; }
int64_t BareWords32(int64_t) { return 0; }
int64_t BareXnor(int64_t) { return 0; }
int64_t BareTables(int64_t) { return 0; }
int64_t BareBytesVnni(int64_t) { return 0; }
int64_t BareBits(int64_t) { return 0; }

}  // namespace lowbit

#endif
