// Tables of sums of weights on AVX2, for codes of 1 or 2 bits: 64 pixels by 4 channels at a time, or 16 by 16.
//
// 4 bits of a pixel, which are 4 or 2 of its codes, can take 16 values. For each, what they come to times a channel's
// weights is known beforehand: a table of 16 bytes. vpshufb looks 32 pixels up at once, and their sums stay in bytes
// for as long as the tables prove that nothing can overflow, then in 16 bits. A lookup and an addition are 128 products
// of 1 bit, or 64 of 2 bits; Zen 3 does two of each in a cycle. (T-MAC, arXiv 2407.00088, looks up sums of activations
// by bits of weights. Here it is the other way round, since a convolution has many pixels for each weight: the tables
// are made once and for all, and a pixel's 4 bits are put together once for all channels.) Small images have not that
// many pixels: then the halves of a register hold the same 16 pixels, and the tables of two channels.
//
// An image goes through these forms:
//   planes   [group of codes][phase][pixel]: the 4 bits, a byte each, of every pixel of the input with its border, in
//            memory order; where the stride is 2, even ones (phase 0) and odd ones apart
//   index    [step][64 or 16 pixels]: of so many output pixels, what each step of the window looks up
//   sums     [channel][64 pixels], in 8 or 16 bits
//   codes    [channel][64 pixels]; or sums as the other kernels have them, [64 pixels][16 channels] in 32 bits
//
// Where the codes that are put out have up to 2 bits, each begins at some sum, and all that has to be done is to count
// the beginnings that a sum is beyond. They are found by the formula that the other kernels compute.

#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/avx2_conv.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx2_finish.h"
#include "runtime/kernels/avx2_patch_sums.h"
#include "runtime/kernels/window.h"
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = Avx2Finish::kChannels;
constexpr int64_t kPixels = 64;
constexpr int64_t kFewPixels = 16;
constexpr int64_t kTable = 16;
constexpr size_t kMostTableBytes = size_t{1} << 18;  // that are not pooled: half of a second cache
constexpr size_t kMostPoolBytes = size_t{1} << 14;   // half of a first one
constexpr int64_t kMostStepsOfTwo = 320;
constexpr int32_t kMostCounted = 3;  // codes beyond 0
constexpr int32_t kMostShortcut = kTable - 1;
constexpr int64_t kPlanePixels = 16;  // planes are made of so many pixels at a time, of 16 channels each

// 64 or 16 pixels at a time, for outputs of as many pixels or about that many.
template <int64_t kPixelsTogether>
class Avx2TableConv : public ConvKernel {
 public:
  explicit Avx2TableConv(const ConvProblem& problem) : problem_(problem), finish_(problem), patch_sums_(problem) {
    const Conv2d& g = problem.op->geometry;
    const TensorLayout& in = problem.input_layout;
    code_bits_ = problem.input->max_code <= 1 ? 1 : 2;
    codes_ = 4 / code_bits_;
    stride_ = g.stride[1];
    if (!TakesShape()) return;
    width_ = (problem.output->width + 3) / 4 * 4;
    groups_ = g.in_channels / codes_;
    row_pixels_ = in.row / in.pixel;
    pixels_ = in.rows * row_pixels_;
    plane_bytes_ = (pixels_ / stride_ + kPixels + kPlanePixels) / kPlanePixels * kPlanePixels;
    for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
      for (int64_t kx = 0; kx < g.kernel[1]; ++kx) taps_.push_back(PlaneAt(ky, kx));
    }
    steps_ = static_cast<int64_t>(taps_.size()) * groups_;
    // Tables of 2 codes gain nothing over products of bytes where they fall out of the second cache, nor where too few
    // channels look up what is made ready for all.
    if (code_bits_ == 2 && (steps_ > kMostStepsOfTwo || g.out_channels <= kBlock)) return;
    MakeTables();
    if (!is_exact_) return;
    FindChunks();
    if (tables_.size() > kMostTableBytes) PoolTables();
    if (Counts()) FindBeginnings();
  }

  // Whether it can compute the problem, and exactly.
  bool is_exact() const { return is_exact_; }

  const char* name() const override { return code_bits_ == 1 ? "avx2 tables of 4 codes" : "avx2 tables of 2 codes"; }

  int64_t scratch_bytes() const override {
    return patch_sums_.scratch_bytes() + PlanesBytes() + IndexBytes() + static_cast<int64_t>(sizeof(Block));
  }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    if (begin >= end) return;
    uint8_t* const planes = buffers.scratch + patch_sums_.scratch_bytes();
    patch_sums_.Make(buffers.input, begin, end, buffers.scratch);
    uint8_t* const index = planes + PlanesBytes();
    auto* const block_memory = reinterpret_cast<Block*>(index + IndexBytes());
    MakePlanes(buffers.input, begin, end, planes);
    const int64_t blocks = Blocks();
    for (int64_t first = begin * width_; first < end * width_; first += kPixelsTogether) {
      const int64_t last = std::min(first + kPixelsTogether, end * width_);
      MakeIndex(planes, first, last, index);
      for (int64_t block = 0; block < blocks; ++block) {
        if (beginnings_.empty()) {
          FinishSums(buffers, block, first, last, index, block_memory);
        } else {
          FinishCodes(buffers, block, first, last, index, block_memory);
        }
      }
    }
  }

 private:
  static constexpr int64_t kTogether = kPixelsTogether == kPixels ? 4 : kBlock;  // channels, likewise

  // Of 64 pixels by 16 channels.
  struct Block {
    alignas(64) int16_t words[kBlock][kPixels];  // 16-bit sums; or 8-bit ones, in the first half of a channel's memory
    alignas(64) int32_t sums[kPixels][kBlock];
    alignas(64) uint8_t shortcut[kBlock][kPixels];
    alignas(64) uint8_t codes[kBlock][kPixels];
    alignas(64) uint8_t pixels[kPixels][kBlock];
  };

  // Of an output channel: what the sums that have code k + 1 or a higher one are greater than, by the code of the
  // shortcut. High and low bytes apart.
  struct Beginnings {
    int8_t low[kMostCounted][kTable];
    int8_t high[kMostCounted][kTable];
  };

  bool TakesShape() const {
    const Conv2d& g = problem_.op->geometry;
    const TensorLayout& in = problem_.input_layout;
    if (g.groups != 1 || problem_.input->max_code > 3 || g.in_channels % 16 != 0) return false;
    if (stride_ > 2) return false;
    // So many are computed, however few there are.
    if (problem_.output->width < 4 || problem_.output->width * problem_.output->height < kPixelsTogether / 2)
      return false;
    // Where the stride is 2 all that a tap reads has to be in one phase.
    return g.stride[0] * (in.row / in.pixel) % stride_ == 0;
  }

  int64_t Blocks() const { return (problem_.op->geometry.out_channels + kBlock - 1) / kBlock; }
  int64_t PlanesBytes() const { return (groups_ * stride_ * plane_bytes_ + 63) / 64 * 64; }
  int64_t IndexBytes() const { return (steps_ * kPixelsTogether + 63) / 64 * 64; }

  // The weights of channel o, those of a step next to each other; nullptr for a channel that only fills up the last
  // block.
  const int8_t* Weights(int64_t o) const {
    if (o >= problem_.op->geometry.out_channels) return nullptr;
    return problem_.op->weight.data() + o * steps_ * codes_;
  }

  // What one channel's weights of a step come to at most, and at least.
  struct Range {
    int32_t lowest = 0;
    int32_t highest = 0;
  };
  Range StepRange(const int8_t* weights) const {
    Range range;
    for (int64_t code = 0; code < codes_; ++code) {
      (weights[code] < 0 ? range.lowest : range.highest) += weights[code] * problem_.input->max_code;
    }
    return range;
  }

  // Whether the numbers of tables fit bytes, and sums 16 bits.
  bool SumsFit() const {
    for (int64_t o = 0; o < problem_.op->geometry.out_channels; ++o) {
      const int8_t* weights = Weights(o);
      int64_t lowest = 0, highest = 0;
      for (int64_t step = 0; step < steps_; ++step, weights += codes_) {
        const Range range = StepRange(weights);
        if (range.lowest < -127 || range.highest > 127) return false;
        lowest += range.lowest;
        highest += range.highest;
      }
      if (lowest < -32767 || highest > 32767) return false;
    }
    return true;
  }

  // (Tables take up to 64 times the memory of the weights.)
  void MakeTables() {
    is_exact_ = SumsFit();
    if (!is_exact_) return;
    tables_.resize(static_cast<size_t>(Blocks() * kBlock * steps_ * kTable));
    for (int64_t o = 0; o < problem_.op->geometry.out_channels; ++o) {
      const int8_t* weights = Weights(o);
      for (int64_t step = 0; step < steps_; ++step, weights += codes_) {
        MakeTable(weights, tables_.data() + TableAt(o, step));
      }
    }
  }

  // Weights of 1 or 2 bits make few different tables, and pairs of tables: keeps each of them once, and where it is, if
  // they are that few.
  void PoolTables() {
    const int64_t size = kPixelsTogether == kFewPixels ? 2 * kTable : kTable;
    std::unordered_map<std::string_view, uint16_t> known;
    AlignedVector<int8_t> pool;
    std::vector<uint16_t> table_of;
    for (auto table = tables_.begin(); table != tables_.end(); table += size) {
      const std::string_view numbers(reinterpret_cast<const char*>(&*table), static_cast<size_t>(size));
      const auto [it, is_new] = known.emplace(numbers, static_cast<uint16_t>(pool.size()));
      if (is_new) pool.insert(pool.end(), table, table + size);
      if (pool.size() > kMostPoolBytes) return;
      table_of.push_back(it->second);
    }
    tables_ = std::move(pool);
    table_of_ = std::move(table_of);
  }

  // (Of 4 bits that are no codes, such as 3 for codes up to 2, nothing is ever looked up.)
  void MakeTable(const int8_t* weights, int8_t* table) const {
    table[0] = 0;
    for (int64_t bit = 0; bit < 4; ++bit) {
      const int64_t value = int64_t{1} << bit;
      const int8_t added = static_cast<int8_t>(weights[bit / code_bits_] * (1 << bit % code_bits_));
      for (int64_t i = 0; i < value; ++i) table[value + i] = static_cast<int8_t>(table[i] + added);
    }
  }

  // [kTogether channels, step, channel of these, 16], before they are pooled.
  size_t TableAt(int64_t o, int64_t step) const {
    return static_cast<size_t>(((o / kTogether * steps_ + step) * kTogether + o % kTogether) * kTable);
  }

  // For each kTogether channels, steps after which their sums of bytes have to be widened.
  void FindChunks() {
    for (int64_t some = 0; some < Blocks() * kBlock / kTogether; ++some) {
      Range sums[kBlock];
      chunk_starts_.push_back(chunk_ends_.size());
      for (int64_t step = 0; step < steps_; ++step) {
        bool fits = true;
        Range ranges[kBlock];
        for (int64_t i = 0; i < kTogether; ++i) {
          const int8_t* const weights = Weights(some * kTogether + i);
          if (weights != nullptr) ranges[i] = StepRange(weights + step * codes_);
          fits = fits && sums[i].highest + ranges[i].highest <= 127 && sums[i].lowest + ranges[i].lowest >= -127;
        }
        if (!fits) chunk_ends_.push_back(step);
        for (int64_t i = 0; i < kTogether; ++i) {
          sums[i].highest = (fits ? sums[i].highest : 0) + ranges[i].highest;
          sums[i].lowest = (fits ? sums[i].lowest : 0) + ranges[i].lowest;
        }
      }
      chunk_ends_.push_back(steps_);
      is_one_chunk_.push_back(chunk_ends_.size() == chunk_starts_.back() + 1);
    }
    chunk_starts_.push_back(chunk_ends_.size());
  }

  // Whether codes are told by where they begin.
  bool Counts() const {
    const Epilogue& epilogue = problem_.op->epilogue;
    const TensorLayout& out = problem_.output_layout;
    if (!out.is_codes || problem_.output->max_code > kMostCounted || epilogue.multiplier.size() % kBlock != 0) {
      return false;
    }
    if (epilogue.bias.size() > epilogue.multiplier.size() || finish_.needs_patch_sums()) return false;
    const bool has_shortcut = epilogue.shortcut.tensor >= 0;
    if (has_shortcut && (!problem_.shortcut_layout.is_codes || problem_.shortcut_max_code > kMostShortcut))
      return false;
    // Codes grow with sums.
    return std::all_of(epilogue.multiplier.begin(), epilogue.multiplier.end(), [](float m) { return m >= 0; });
  }

  void FindBeginnings() {
    const Epilogue& epilogue = problem_.op->epilogue;
    beginnings_.resize(epilogue.multiplier.size());
    for (size_t o = 0; o < beginnings_.size(); ++o) {
      for (int32_t code = 1; code <= kMostCounted; ++code) {
        for (int32_t shortcut = 0; shortcut <= problem_.shortcut_max_code; ++shortcut) {
          // The greatest of [low, high] that has a lower code, or low.
          int32_t low = is_one_chunk_[o / static_cast<size_t>(kTogether)] ? -128 : -32768;
          int32_t high = -1 - low;
          while (low < high) {
            const int32_t middle = low + (high - low + 1) / 2;
            const float v = ValueOf(epilogue, 0, static_cast<int64_t>(o), middle, 0, static_cast<float>(shortcut));
            if (CodeOf(epilogue, v) < code) {
              low = middle;
            } else {
              high = middle - 1;
            }
          }
          const size_t at = static_cast<size_t>(code - 1), by = static_cast<size_t>(shortcut);
          beginnings_[o].low[at][by] = static_cast<int8_t>(low);
          beginnings_[o].high[at][by] = static_cast<int8_t>(low >> 8);
        }
      }
    }
  }

  // ---- Planes ----

  // 16 pixels of 16 channels: their 4-bit groups, 4 or 8 of them, each 16 bytes.
  LOWBIT_AVX2_INLINE void Gather(const uint8_t* pixels, int64_t step, __m128i* groups) const {
    const auto load = [&](int64_t i) LOWBIT_AVX2 {
      return _mm256_inserti128_si256(
          _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels + i * step))),
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels + (i + 4) * step)), 1);
    };
    if (code_bits_ == 1) {
      // Pixels i and i + 4: their 4 groups in 32 bits each.
      const __m256i two = _mm256_set1_epi16(0x0201), four = _mm256_set1_epi32(0x00040001);
      __m256i rows[2];
      for (int64_t half = 0; half < 2; ++half) {
        __m256i nibbles[4];
        for (int64_t i = 0; i < 4; ++i) {
          nibbles[i] = _mm256_madd_epi16(_mm256_maddubs_epi16(load(half * 8 + i), two), four);
        }
        // Each half of a register: 4 pixels of [group 0 .. 3], in order.
        rows[half] =
            _mm256_packus_epi16(_mm256_packs_epi32(nibbles[0], nibbles[1]), _mm256_packs_epi32(nibbles[2], nibbles[3]));
        const __m256i by_group = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1,
                                                  5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        rows[half] = _mm256_shuffle_epi8(rows[half], by_group);
      }
      const __m128i a = _mm256_castsi256_si128(rows[0]), b = _mm256_extracti128_si256(rows[0], 1);
      const __m128i c = _mm256_castsi256_si128(rows[1]), d = _mm256_extracti128_si256(rows[1], 1);
      const __m128i ab01 = _mm_unpacklo_epi32(a, b), ab23 = _mm_unpackhi_epi32(a, b);
      const __m128i cd01 = _mm_unpacklo_epi32(c, d), cd23 = _mm_unpackhi_epi32(c, d);
      groups[0] = _mm_unpacklo_epi64(ab01, cd01);
      groups[1] = _mm_unpackhi_epi64(ab01, cd01);
      groups[2] = _mm_unpacklo_epi64(ab23, cd23);
      groups[3] = _mm_unpackhi_epi64(ab23, cd23);
      return;
    }
    // Two pixels of [group 0 .. 7] in each register, then a transpose of 16 by 8.
    const __m256i four = _mm256_set1_epi16(0x0401);
    __m128i pairs[8];
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t i = 0; i < 2; ++i) {
        const __m256i nibbles = _mm256_packus_epi16(_mm256_maddubs_epi16(load(half * 8 + 2 * i), four),
                                                    _mm256_maddubs_epi16(load(half * 8 + 2 * i + 1), four));
        pairs[half * 4 + i] = _mm256_castsi256_si128(nibbles);           // pixels 2 i and 2 i + 1 of the half
        pairs[half * 4 + i + 2] = _mm256_extracti128_si256(nibbles, 1);  // those 4 further on
      }
    }
    const __m128i by_group = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    for (__m128i& pair : pairs) pair = _mm_shuffle_epi8(pair, by_group);
    __m128i quads[8];  // [2 i]: groups 0 to 3 of 4 pixels, [2 i + 1]: groups 4 to 7
    for (int64_t i = 0; i < 4; ++i) {
      quads[2 * i] = _mm_unpacklo_epi16(pairs[2 * i], pairs[2 * i + 1]);
      quads[2 * i + 1] = _mm_unpackhi_epi16(pairs[2 * i], pairs[2 * i + 1]);
    }
    for (int64_t half = 0; half < 2; ++half) {
      const __m128i low0 = _mm_unpacklo_epi32(quads[half], quads[half + 2]);
      const __m128i low1 = _mm_unpackhi_epi32(quads[half], quads[half + 2]);
      const __m128i high0 = _mm_unpacklo_epi32(quads[half + 4], quads[half + 6]);
      const __m128i high1 = _mm_unpackhi_epi32(quads[half + 4], quads[half + 6]);
      groups[half * 4] = _mm_unpacklo_epi64(low0, high0);
      groups[half * 4 + 1] = _mm_unpackhi_epi64(low0, high0);
      groups[half * 4 + 2] = _mm_unpacklo_epi64(low1, high1);
      groups[half * 4 + 3] = _mm_unpackhi_epi64(low1, high1);
    }
  }

  // Of the rows that windows of the output rows [begin, end) read.
  LOWBIT_AVX2_INLINE void MakePlanes(const uint8_t* input, int64_t begin, int64_t end, uint8_t* planes) const {
    const Conv2d& g = problem_.op->geometry;
    const TensorLayout& in = problem_.input_layout;
    const int64_t first_row = FirstRowRead(problem_, begin);
    const int64_t first = first_row * row_pixels_ / kPlanePixels * kPlanePixels;
    const int64_t last = (first_row + RowsRead(problem_, end - begin)) * row_pixels_;
    const int64_t of_sixteen = kBlock / codes_;
    const __m128i even_odd = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    for (int64_t pixel = first; pixel < last; pixel += kPlanePixels) {
      for (int64_t channel = 0; channel < g.in_channels; channel += kBlock) {
        __m128i groups[8];
        if (pixel + kPlanePixels <= pixels_) {
          Gather(input + pixel * in.pixel + channel, in.pixel, groups);
        } else {
          alignas(16) uint8_t some[kPlanePixels * kBlock] = {};
          for (int64_t i = 0; pixel + i < pixels_; ++i) {
            std::memcpy(some + i * kBlock, input + (pixel + i) * in.pixel + channel, kBlock);
          }
          Gather(some, kBlock, groups);
        }
        uint8_t* plane = planes + channel / codes_ * stride_ * plane_bytes_ + pixel / stride_;
        for (int64_t i = 0; i < of_sixteen; ++i, plane += stride_ * plane_bytes_) {
          if (stride_ == 1) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(plane), groups[i]);
          } else {
            const __m128i apart = _mm_shuffle_epi8(groups[i], even_odd);
            _mm_storel_epi64(reinterpret_cast<__m128i*>(plane), apart);
            _mm_storel_epi64(reinterpret_cast<__m128i*>(plane + plane_bytes_), _mm_unpackhi_epi64(apart, apart));
          }
        }
      }
    }
  }

  // ---- Index ----

  // Where in the planes of group 0 the pixel that tap (ky, kx) of output pixel (0, 0) reads stands.
  int64_t PlaneAt(int64_t ky, int64_t kx) const {
    const Conv2d& g = problem_.op->geometry;
    const TensorLayout& in = problem_.input_layout;
    const int64_t row = in.offset / in.row - g.padding[0] + ky * g.dilation[0];
    const int64_t column = in.offset % in.row / in.pixel - g.padding[1] + kx * g.dilation[1];
    const int64_t pixel = row * row_pixels_ + column;
    return pixel % stride_ * plane_bytes_ + pixel / stride_;
  }

  template <int kRun>
  LOWBIT_AVX2_INLINE void CopyRuns(const uint8_t* planes, int64_t first, int64_t last, uint8_t* index) const {
    const int64_t width = width_;
    const int64_t row_step = problem_.op->geometry.stride[0] * row_pixels_ / stride_;
    const int64_t group_step = stride_ * plane_bytes_;
    for (int64_t to = 0; to < kPixelsTogether; to += kRun) {
      const int64_t pixel = std::min(first + to, last - kRun);
      const uint8_t* const start = planes + pixel / width * row_step + pixel % width;
      uint8_t* out = index + to;
      for (const int64_t tap : taps_) {
        const uint8_t* from = start + tap;
        for (int64_t group = 0; group < groups_; ++group, from += group_step, out += kPixelsTogether) {
          std::memcpy(out, from, kRun);
        }
      }
    }
  }

  // Of fewer pixels the last ones are repeated.
  LOWBIT_AVX2_INLINE void MakeIndex(const uint8_t* planes, int64_t first, int64_t last, uint8_t* index) const {
    if (kPixelsTogether >= 32 && width_ % 32 == 0) {
      CopyRuns<32>(planes, first, last, index);
    } else if (width_ % 16 == 0) {
      CopyRuns<16>(planes, first, last, index);
    } else if (width_ % 8 == 0) {
      CopyRuns<8>(planes, first, last, index);
    } else {
      CopyRuns<4>(planes, first, last, index);
    }
  }

  // ---- Sums ----

  // Sums of words are kept as unpacking leaves them: of each 32 pixels those from 0, 16, 8 and 24 on, 8 each.
  static LOWBIT_AVX2_INLINE void Widen(__m256i bytes, __m256i* low, __m256i* high) {
    const __m256i signs = _mm256_cmpgt_epi8(_mm256_setzero_si256(), bytes);
    *low = _mm256_add_epi16(*low, _mm256_unpacklo_epi8(bytes, signs));
    *high = _mm256_add_epi16(*high, _mm256_unpackhi_epi8(bytes, signs));
  }

  // (Where g++ chooses the registers of the addition it copies each sum once more.)
  static LOWBIT_AVX2_INLINE void Add(__m256i table, __m256i index, __m256i* sums) {
    asm("vpaddb %1, %0, %0" : "+x"(*sums) : "x"(_mm256_shuffle_epi8(table, index)));
  }

  // The sums of the i-th kTogether channels: in bytes where there is one chunk.
  LOWBIT_AVX2_INLINE void LookUp(int64_t i, const uint8_t* index, int16_t (*sums)[kPixels]) const {
    if (is_one_chunk_[static_cast<size_t>(i)]) return LookUpChunk(i, 0, steps_, index, sums);
    std::memset(sums, 0, static_cast<size_t>(kTogether) * sizeof(*sums));
    int64_t step = 0;
    for (size_t chunk = chunk_starts_[static_cast<size_t>(i)]; chunk < chunk_starts_[static_cast<size_t>(i) + 1];
         ++chunk) {
      alignas(64) int16_t bytes[kBlock][kPixels];
      LookUpChunk(i, step, chunk_ends_[chunk], index, bytes);
      step = chunk_ends_[chunk];
      for (int64_t c = 0; c < kTogether; ++c) {
        const auto* const from = reinterpret_cast<const __m256i*>(bytes[c]);
        auto* const words = reinterpret_cast<__m256i*>(sums[c]);
        Widen(from[0], words, words + 1);
        if (kPixelsTogether == kPixels) Widen(from[1], words + 2, words + 3);
      }
    }
  }

  // Of the steps [begin, end), in bytes.
  LOWBIT_AVX2_INLINE void LookUpChunk(int64_t i, int64_t begin, int64_t end, const uint8_t* index,
                                      int16_t (*sums)[kPixels]) const {
    const int64_t first = (i * steps_ + begin) * kTogether;  // of the tables
    index += begin * kPixelsTogether;
    if (kPixelsTogether == kPixels) {
      if (table_of_.empty()) {
        AddSteps<false>(tables_.data() + first * kTable, nullptr, index, end - begin, sums);
      } else {
        AddSteps<true>(tables_.data(), table_of_.data() + first, index, end - begin, sums);
      }
    } else {
      if (table_of_.empty()) {
        AddStepsOfFew<false>(tables_.data() + first * kTable, nullptr, index, end - begin, sums);
      } else {
        AddStepsOfFew<true>(tables_.data(), table_of_.data() + first / 2, index, end - begin, sums);
      }
    }
  }

  // 64 pixels by 4 channels. `tables` follow each other, or are where `table_of` says. A function of its own, or g++
  // keeps too much in registers.
  template <bool kPooled>
  LOWBIT_AVX2 __attribute__((noinline)) static void AddSteps(const int8_t* tables, const uint16_t* table_of,
                                                             const uint8_t* index, int64_t steps,
                                                             int16_t (*sums)[kPixels]) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i s00 = zero, s01 = zero, s10 = zero, s11 = zero, s20 = zero, s21 = zero, s30 = zero, s31 = zero;
    const auto load = [&](int i) LOWBIT_AVX2 {
      const int8_t* const table = kPooled ? tables + table_of[i] : tables + i * kTable;
      return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
    };
    for (int64_t step = 0; step < steps; ++step, index += kPixels) {
      const __m256i i0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(index));
      const __m256i i1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(index + 32));
      const __m256i t0 = load(0);
      Add(t0, i0, &s00);
      Add(t0, i1, &s01);
      const __m256i t1 = load(1);
      Add(t1, i0, &s10);
      Add(t1, i1, &s11);
      const __m256i t2 = load(2);
      Add(t2, i0, &s20);
      Add(t2, i1, &s21);
      const __m256i t3 = load(3);
      Add(t3, i0, &s30);
      Add(t3, i1, &s31);
      if (kPooled) {
        table_of += 4;
      } else {
        tables += 4 * kTable;
      }
    }
    const __m256i all[8] = {s00, s01, s10, s11, s20, s21, s30, s31};
    for (int64_t i = 0; i < 8; ++i) reinterpret_cast<__m256i*>(sums[i / 2])[i % 2] = all[i];
  }

  // 16 pixels by 16 channels.
  template <bool kPooled>
  LOWBIT_AVX2 __attribute__((noinline)) static void AddStepsOfFew(const int8_t* tables, const uint16_t* pair_of,
                                                                  const uint8_t* index, int64_t steps,
                                                                  int16_t (*sums)[kPixels]) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero;
    const auto pair = [&](int i) LOWBIT_AVX2 {
      const int8_t* const both = kPooled ? tables + pair_of[i] : tables + i * 2 * kTable;
      return _mm256_load_si256(reinterpret_cast<const __m256i*>(both));
    };
    for (int64_t step = 0; step < steps; ++step, index += kFewPixels) {
      const __m256i pixels = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(index)));
      Add(pair(0), pixels, &s0);
      Add(pair(1), pixels, &s1);
      Add(pair(2), pixels, &s2);
      Add(pair(3), pixels, &s3);
      Add(pair(4), pixels, &s4);
      Add(pair(5), pixels, &s5);
      Add(pair(6), pixels, &s6);
      Add(pair(7), pixels, &s7);
      if (kPooled) {
        pair_of += kBlock / 2;
      } else {
        tables += kBlock * kTable;
      }
    }
    const __m256i all[8] = {s0, s1, s2, s3, s4, s5, s6, s7};
    for (int64_t i = 0; i < 8; ++i) {
      *reinterpret_cast<__m128i*>(sums[2 * i]) = _mm256_castsi256_si128(all[i]);
      *reinterpret_cast<__m128i*>(sums[2 * i + 1]) = _mm256_extracti128_si256(all[i], 1);
    }
  }

  // f(pixel, count, y, x): each run of [first, last) that lies in one row, `pixel` counted from `first`. Of pixels that
  // only fill rows up there is none.
  template <typename F>
  LOWBIT_AVX2_INLINE void ForEachRun(int64_t first, int64_t last, const F& f) const {
    const int64_t width = problem_.output->width;
    int64_t y = first / width_, x = first % width_;
    for (int64_t pixel = first; pixel < last; pixel += width_ - x, x = 0, ++y) {
      const int64_t count = std::min(last - pixel, width - x);
      if (count > 0) f(pixel - first, count, y, x);
    }
  }

  // ---- To whatever the output holds ----

  LOWBIT_AVX2_INLINE void FinishSums(const ConvBuffers& buffers, int64_t block, int64_t first, int64_t last,
                                     const uint8_t* index, Block* memory) const {
    for (int64_t first_channel = 0; first_channel < kBlock; first_channel += kTogether) {
      const int64_t i = (block * kBlock + first_channel) / kTogether;
      LookUp(i, index, memory->words + first_channel);
      if (is_one_chunk_[static_cast<size_t>(i)]) {
        for (int64_t c = first_channel; c < first_channel + kTogether; ++c) {
          auto* const sums = reinterpret_cast<__m256i*>(memory->words[c]);
          const __m256i bytes[2] = {sums[0], sums[1]};
          for (__m256i* sum = sums; sum < sums + 4; ++sum) *sum = _mm256_setzero_si256();
          Widen(bytes[0], sums, sums + 1);
          Widen(bytes[1], sums + 2, sums + 3);
        }
      }
    }
    Transpose(memory->words, memory->sums);
    ForEachRun(first, last, [&](int64_t pixel, int64_t count, int64_t y, int64_t x) LOWBIT_AVX2 {
      const auto row = finish_.MakeRow(buffers, y, block * kBlock, patch_sums_.Row(buffers.scratch, y));
      Avx2Finish::FinishRow(row, memory->sums + pixel, x, x + count);
    });
  }

  // 16 channels by 64 pixels to 64 pixels by 16 channels, in 32 bits.
  static LOWBIT_AVX2_INLINE void Transpose(const int16_t (*words)[kPixels], int32_t (*sums)[kBlock]) {
    for (int64_t at = 0; at < kPixels; at += 8) {
      const int64_t pixel = at / 32 * 32 + at / 8 % 2 * 16 + at / 16 % 2 * 8;
      for (int64_t half = 0; half < 2; ++half) {
        __m128i r[8], s[8];
        for (int64_t i = 0; i < 8; ++i) {
          r[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(words[half * 8 + i] + at));
        }
        for (int64_t i = 0; i < 4; ++i) {
          s[2 * i] = _mm_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
          s[2 * i + 1] = _mm_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
        }
        // s[2 i], s[2 i + 1]: channels 2 i and 2 i + 1 of pixels 0 to 3, 4 to 7.
        for (int64_t pixels = 0; pixels < 2; ++pixels) {
          const __m128i low0 = _mm_unpacklo_epi32(s[pixels], s[pixels + 2]);
          const __m128i low1 = _mm_unpackhi_epi32(s[pixels], s[pixels + 2]);
          const __m128i high0 = _mm_unpacklo_epi32(s[pixels + 4], s[pixels + 6]);
          const __m128i high1 = _mm_unpackhi_epi32(s[pixels + 4], s[pixels + 6]);
          const __m128i of_pixel[4] = {_mm_unpacklo_epi64(low0, high0), _mm_unpackhi_epi64(low0, high0),
                                       _mm_unpacklo_epi64(low1, high1), _mm_unpackhi_epi64(low1, high1)};
          for (int64_t i = 0; i < 4; ++i) {
            _mm256_store_si256(reinterpret_cast<__m256i*>(sums[pixel + pixels * 4 + i] + half * 8),
                               _mm256_cvtepi16_epi32(of_pixel[i]));
          }
        }
      }
    }
  }

  // ---- To codes of up to 2 bits ----

  LOWBIT_AVX2_INLINE void FinishCodes(const ConvBuffers& buffers, int64_t block, int64_t first, int64_t last,
                                      const uint8_t* index, Block* memory) const {
    const bool has_shortcut = ReadShortcut(buffers, block, first, last, memory);
    for (int64_t channel = block * kBlock; channel < (block + 1) * kBlock; channel += kTogether) {
      LookUp(channel / kTogether, index, memory->words + channel % kBlock);
      if (problem_.output->max_code == 1) {
        CountSome<1>(channel, has_shortcut, memory);
      } else {
        CountSome<kMostCounted>(channel, has_shortcut, memory);
      }
    }
    TransposeBytes<kPixels, kBlock>(memory->codes, memory->pixels);
    const TensorLayout& out = problem_.output_layout;
    ForEachRun(first, last, [&](int64_t pixel, int64_t count, int64_t y, int64_t x) LOWBIT_AVX2 {
      uint8_t* to = static_cast<uint8_t*>(buffers.output) + out.offset + y * out.row + x * out.pixel + block * kBlock;
      for (int64_t i = 0; i < count; ++i, to += out.pixel) std::memcpy(to, memory->pixels[pixel + i], kBlock);
    });
  }

  // The codes of kTogether channels, of which there are at most kMost beyond 0.
  template <int32_t kMost>
  LOWBIT_AVX2_INLINE void CountSome(int64_t first, bool has_shortcut, Block* memory) const {
    if (is_one_chunk_[static_cast<size_t>(first / kTogether)]) {
      has_shortcut ? Count<kMost, true, true>(first, memory) : Count<kMost, true, false>(first, memory);
    } else {
      has_shortcut ? Count<kMost, false, true>(first, memory) : Count<kMost, false, false>(first, memory);
    }
  }

  // A code is the number of beginnings that the sum is beyond.
  template <int32_t kMost, bool kBytes, bool kShortcut>
  LOWBIT_AVX2_INLINE void Count(int64_t first, Block* memory) const {
    for (int64_t c = first; c < first + kTogether; ++c) {
      const Beginnings& beginnings = beginnings_[static_cast<size_t>(c)];
      const auto* sums = reinterpret_cast<const __m256i*>(memory->words[c % kBlock]);
      for (int64_t half = 0; half < kPixelsTogether; half += 32, sums += kBytes ? 1 : 2) {
        const __m256i by = *reinterpret_cast<const __m256i*>(memory->shortcut[c % kBlock] + half);
        __m256i codes = _mm256_setzero_si256();
        for (int32_t k = 0; k < kMost; ++k) {
          const auto load = [&](const int8_t(&table)[kTable]) LOWBIT_AVX2 {
            if (!kShortcut) return _mm256_set1_epi8(table[0]);
            const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
            return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), by);
          };
          const __m256i low = load(beginnings.low[k]);
          __m256i beyond;
          if (kBytes) {
            beyond = _mm256_cmpgt_epi8(sums[0], low);
          } else {
            const __m256i high = load(beginnings.high[k]);
            beyond = _mm256_packs_epi16(_mm256_cmpgt_epi16(sums[0], _mm256_unpacklo_epi8(low, high)),
                                        _mm256_cmpgt_epi16(sums[1], _mm256_unpackhi_epi8(low, high)));
          }
          codes = _mm256_sub_epi8(codes, beyond);
        }
        _mm256_store_si256(reinterpret_cast<__m256i*>(memory->codes[c % kBlock] + half), codes);
      }
    }
  }

  // The codes of the shortcut, 0 where it has no such channel. False if it has none of the block's.
  LOWBIT_AVX2_INLINE bool ReadShortcut(const ConvBuffers& buffers, int64_t block, int64_t first, int64_t last,
                                       Block* memory) const {
    const Shortcut& shortcut = problem_.op->epilogue.shortcut;
    const int64_t before = std::max<int64_t>(0, shortcut.before - block * kBlock);  // of the block's channels
    const int64_t from = std::max<int64_t>(0, block * kBlock - shortcut.before);
    const int64_t channels = std::min(kBlock - before, problem_.shortcut_channels - from);
    if (shortcut.tensor < 0 || channels <= 0) return false;
    if (channels < kBlock) std::memset(memory->pixels, 0, sizeof(memory->pixels));
    const TensorLayout& side = problem_.shortcut_layout;
    const int64_t step = shortcut.stride[1] * side.pixel;
    ForEachRun(first, last, [&](int64_t pixel, int64_t count, int64_t y, int64_t x) LOWBIT_AVX2 {
      const uint8_t* at = static_cast<const uint8_t*>(buffers.shortcut) + side.offset +
                          y * shortcut.stride[0] * side.row + x * step + from;
      for (int64_t i = 0; i < count; ++i, at += step) {
        if (channels == kBlock) {
          std::memcpy(memory->pixels[pixel + i], at, kBlock);
        } else {
          std::memcpy(memory->pixels[pixel + i] + before, at, static_cast<size_t>(channels));
        }
      }
    });
    TransposeBytes<kBlock, kPixels>(memory->pixels, memory->shortcut);
    return true;
  }

  // [kRows][kColumns] to [kColumns][kRows], 16 by 16 bytes at a time, two of them in a register's halves.
  template <int64_t kColumns, int64_t kRows>
  static LOWBIT_AVX2_INLINE void TransposeBytes(const uint8_t (*from)[kColumns], uint8_t (*to)[kRows]) {
    constexpr int64_t kAcross = kColumns >= 32 ? 16 : 0, kDown = 16 - kAcross;  // where the second one is
    for (int64_t start = 0; start < kPixels; start += 32) {
      const int64_t row = kAcross == 0 ? start : 0, column = kAcross == 0 ? 0 : start;
      __m256i a[16], b[16];
      for (int64_t i = 0; i < 16; ++i) {
        const uint8_t* const first = from[row + i] + column;
        const uint8_t* const second = from[row + i + kDown] + column + kAcross;
        a[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(first))),
                                       _mm_load_si128(reinterpret_cast<const __m128i*>(second)), 1);
      }
      // Each pass moves a bit of a byte's place in its register to the register's number: after four all have.
      Interleave(a, b);
      Interleave(b, a);
      Interleave(a, b);
      Interleave(b, a);
      for (int64_t i = 0; i < 16; ++i) {
        uint8_t* const first = to[column + i] + row;
        uint8_t* const second = to[column + i + kAcross] + row + kDown;
        _mm_store_si128(reinterpret_cast<__m128i*>(first), _mm256_castsi256_si128(a[i]));
        _mm_store_si128(reinterpret_cast<__m128i*>(second), _mm256_extracti128_si256(a[i], 1));
      }
    }
  }

  static LOWBIT_AVX2_INLINE void Interleave(const __m256i (&from)[16], __m256i (&to)[16]) {
    for (int64_t i = 0; i < 8; ++i) {
      to[2 * i] = _mm256_unpacklo_epi8(from[i], from[i + 8]);
      to[2 * i + 1] = _mm256_unpackhi_epi8(from[i], from[i + 8]);
    }
  }

  const ConvProblem problem_;
  const Avx2Finish finish_;
  const Avx2PatchSums patch_sums_;
  int64_t code_bits_ = 1;
  int64_t codes_ = 4;   // in 4 bits
  int64_t groups_ = 0;  // of so many codes, in a pixel
  int64_t stride_ = 1;
  int64_t width_ = 0;       // of the output, filled up to a multiple of 4
  int64_t row_pixels_ = 0;  // of the input with its border
  int64_t pixels_ = 0;      // likewise
  int64_t plane_bytes_ = 0;
  std::vector<int64_t> taps_;  // PlaneAt of each
  int64_t steps_ = 0;          // of a window: its taps, and of each tap its groups
  AlignedVector<int8_t> tables_;
  std::vector<uint16_t> table_of_;      // the place of each in a pool; empty where there is none
  std::vector<Beginnings> beginnings_;  // of each channel; empty where codes are not counted
  std::vector<int64_t> chunk_ends_;     // of all that are together, one after the other
  std::vector<size_t> chunk_starts_;    // of those, the first of their chunk_ends_; and the end
  std::vector<uint8_t> is_one_chunk_;   // likewise: sums of bytes do
  bool is_exact_ = false;
};

template <int64_t kPixelsTogether>
std::unique_ptr<ConvKernel> MakeFor(const ConvProblem& problem) {
  auto kernel = std::make_unique<Avx2TableConv<kPixelsTogether>>(problem);
  if (!kernel->is_exact()) return nullptr;
  return kernel;
}

std::unique_ptr<ConvKernel> Make(const ConvProblem& problem) {
  if (problem.output->width * problem.output->height >= kPixels / 2) return MakeFor<kPixels>(problem);
  return MakeFor<kFewPixels>(problem);
}

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx2TableOf4Conv(const ConvProblem& problem) {
  if (problem.input->max_code > 1) return nullptr;
  return Make(problem);
}

std::unique_ptr<ConvKernel> MakeAvx2TableOf2Conv(const ConvProblem& problem) {
  if (problem.input->max_code <= 1) return nullptr;
  return Make(problem);
}

#else

std::unique_ptr<ConvKernel> MakeAvx2TableOf4Conv(const ConvProblem&) { return nullptr; }
std::unique_ptr<ConvKernel> MakeAvx2TableOf2Conv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
