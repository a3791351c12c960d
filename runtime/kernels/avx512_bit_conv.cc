// Weights of -1 and 1 on AVX-512 with VPOPCNTDQ, for codes of 1 or 2 bits: 8 pixels by 32 channels at a time, or 16 by
// 16, their 32-bit sums in 16 registers.
//
// The rows that are read are turned into planes first: for each bit of a code one bit for each byte, in memory order. A
// round takes 32 neighbouring bits of each pixel's window, spread over a register, and 16 channels' bits for them,
// which are set where a weight is 1: `and`, vpopcntd and an addition are 512 products. What is counted are the codes
// whose weight is 1; the others' is -1:
//
//   sum of w * u = 2 * (sum of u where w = 1) - sum of u

#include <cstring>
#include <vector>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/avx512_conv.h"
#include "runtime/kernels/window.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx512_patch_sums.h"
#include "runtime/kernels/avx512_tiles.h"

#define LOWBIT_AVX512_POPCNT __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")))
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = kAvx512Block;
constexpr int64_t kRoundCodes = 32;
constexpr int64_t kLeastChannelsOfTwoPlanes = 32;

class Avx512BitConv : public ConvKernel {
 public:
  explicit Avx512BitConv(const ConvProblem& problem)
      : problem_(problem), finish_(problem), patch_sums_(problem), planes_(problem.input->max_code > 1 ? 2 : 1) {
    const Window window = MakeWindow(problem, kRoundCodes);
    const AlignedVector<int8_t> weights = LayOutWeights<int8_t>(problem, window, kBlock, kRoundCodes);
    weights_.resize(weights.size() / kRoundCodes);
    for (size_t i = 0; i < weights.size(); ++i) {
      weights_[i / kRoundCodes] |= (weights[i] > 0 ? 1U : 0U) << i % kRoundCodes;
    }
    for (const int64_t offset : window.offsets) offsets_.push_back(offset / 8);

    const TensorLayout& in = problem.input_layout;
    plane_bytes_ = (in.row * in.rows / 8 + kReadSlack + 63) / 64 * 64;
  }

  const char* name() const override { return planes_ == 1 ? "avx512 bits" : "avx512 bits of 2 planes"; }

  int64_t scratch_bytes() const override {
    return static_cast<int64_t>(sizeof(Avx512Scratch)) + planes_ * plane_bytes_ + patch_sums_.scratch_bytes();
  }

  LOWBIT_AVX512 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    if (begin >= end) return;
    // The rows that windows of [begin, end) read, whole, from the border on the left to that on the right.
    const TensorLayout& layout = problem_.input_layout;
    const int64_t first = FirstRowRead(problem_, begin) * layout.row;
    const int64_t bytes = RowsRead(problem_, end - begin) * layout.row;
    uint8_t* const planes = buffers.scratch + sizeof(Avx512Scratch);
    for (int64_t plane = 0; plane < planes_; ++plane) {
      MakePlane(buffers.input + first, bytes, 1 << plane, planes + plane * plane_bytes_);
    }
    auto* const after_planes = reinterpret_cast<int32_t*>(planes + planes_ * plane_bytes_);
    const int32_t* const patch_sums = patch_sums_.Compute(buffers.input, begin, end, after_planes);
    RunAvx512Tiles<8>(*this, problem_, finish_, planes - first / 8, buffers, patch_sums, begin, end);
  }

  template <int kPixels, int kBlocks>
  LOWBIT_AVX512_POPCNT __attribute__((noinline)) void Sums(Avx512Scratch* scratch, int64_t first, int64_t block) const {
    const uint8_t* const* const starts = scratch->starts + first;
    const int64_t rounds = static_cast<int64_t>(offsets_.size());
    const int64_t block_bits = rounds * kBlock;
    Avx512Tile<kPixels, kBlocks> tile;
    tile.Clear();
    for (int64_t plane = planes_ - 1; plane >= 0; --plane) {
      const uint32_t* w = weights_.data() + block * block_bits;
#pragma GCC unroll 16
      for (auto& of_pixel : tile.sums) {
        for (__m512i& sum : of_pixel) sum = _mm512_add_epi32(sum, sum);
      }
      for (int64_t round = 0; round < rounds; ++round, w += kBlock) {
        const int64_t offset = offsets_[static_cast<size_t>(round)] + plane * plane_bytes_;
        __m512i weights[kBlocks];
        for (int b = 0; b < kBlocks; ++b) weights[b] = _mm512_load_si512(w + b * block_bits);
#pragma GCC unroll 16
        for (int p = 0; p < kPixels; ++p) {
          int32_t bits;
          std::memcpy(&bits, starts[p] + offset, sizeof(bits));
          const __m512i spread = _mm512_set1_epi32(bits);
          for (int b = 0; b < kBlocks; ++b) {
            const __m512i count = _mm512_popcnt_epi32(_mm512_and_si512(spread, weights[b]));
            tile.sums[p][b] = Opaque(_mm512_add_epi32(tile.sums[p][b], count));
          }
        }
      }
    }
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p) {
      const __m512i patch_sum = _mm512_set1_epi32(scratch->patch_sums[first + p]);
      for (__m512i& sum : tile.sums[p]) sum = _mm512_sub_epi32(_mm512_add_epi32(sum, sum), patch_sum);
    }
    tile.Store(first, scratch);
  }

 private:
  // For each of `count` bytes one bit: whether it has `bit` set.
  static LOWBIT_AVX512_INLINE void MakePlane(const uint8_t* bytes, int64_t count, int bit, uint8_t* plane) {
    const __m512i bits = _mm512_set1_epi8(static_cast<char>(bit));
    for (int64_t i = 0; i < count; i += 64) {
      const uint64_t are_set = _mm512_test_epi8_mask(_mm512_loadu_si512(bytes + i), bits);
      std::memcpy(plane + i / 8, &are_set, sizeof(are_set));
    }
  }

  const ConvProblem problem_;
  const Avx512Finish finish_;
  const Avx512PatchSums patch_sums_;
  const int64_t planes_;
  int64_t plane_bytes_ = 0;
  std::vector<int64_t> offsets_;     // of each round, from a window's first byte in a plane
  AlignedVector<uint32_t> weights_;  // [block, round, channel of the block]
};

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx512BitConv(const ConvProblem& problem) {
  if (problem.op->geometry.groups != 1 || problem.input->max_code > 3 || problem.input_layout.pixel % 8 != 0) {
    return nullptr;
  }
  // Two planes of short pixels gain nothing over products of bytes.
  if (problem.input->max_code > 1 && problem.op->geometry.in_channels < kLeastChannelsOfTwoPlanes) return nullptr;
  for (const int8_t weight : problem.op->weight) {
    if (weight != 1 && weight != -1) return nullptr;
  }
  return std::make_unique<Avx512BitConv>(problem);
}

#else

std::unique_ptr<ConvKernel> MakeAvx512BitConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
