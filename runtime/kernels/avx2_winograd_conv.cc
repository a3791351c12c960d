// 3 by 3 windows by Winograd's minimal filtering, F(2 x 2, 3 x 3) (Lavin and Gray 2015, arXiv 1509.09308), in whole
// numbers: 16 products for 4 outputs instead of 36.
//
// Of a tile of 4 by 4 codes d, and the weights g of one input and one output channel,
//
//   V = B' d B        B' = [1  0 -1  0]      codes up to m: V within +-2 m, or in [0, 4 m]
//                          [0  1  1  0]
//                          [0 -1  1  0]
//                          [0  1  0 -1]
//   U = G g G'        G  = [2  0  0]         twice Winograd's own G, so that U is whole: |U| <= 9 max|g|
//                          [1  1  1]
//                          [1 -1  1]
//                          [0  0  2]
//   4 Y = A' M A      A' = [1  1  1  0]      M = the sum over the input channels of U * V, number by number
//                          [0  1 -1 -1]
//
// Y are the sums of the 2 by 2 outputs. Sums are right modulo 2^32, or 2^16, whatever happens on the way: where 4 Y
// fits, Y is exact.
//
// Products are those of avx2_word_conv.cc or of avx2_byte_conv.cc, 4 tiles by 16 channels at a time for each of the 16
// numbers of a tile. For bytes V must be unsigned: it is V + 2 m, and M starts with what that adds, taken off.

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/avx2_conv.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx2_finish.h"
#include "runtime/kernels/avx2_patch_sums.h"
#include "runtime/kernels/avx2_tile.h"
#include "runtime/kernels/window.h"
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = Avx2Finish::kChannels;
constexpr int64_t kTiles = Avx2Tile::kPixels;
constexpr int64_t kGroups = 4;     // of so many tiles, that a block's weights are used for in turn
constexpr int64_t kNumbers = 16;   // of a tile
constexpr int64_t kChannels = 16;  // input channels come in so many

// 8-bit codes with 8-bit weights: V, U and M in 16, 16 and 32 bits.
struct Words {
  static constexpr const char* kName = "avx2 winograd words";
  using Code = int16_t;
  using Weight = int16_t;
  using Sum = int32_t;
  using AddRound = Avx2AddWords;
  static constexpr int64_t kRound = 2;  // codes of a round
  static constexpr int64_t kLanes = 1;  // sums that a channel has, of every kLanes-th pair of codes or code

  static LOWBIT_AVX2_INLINE __m256i AddCodes(__m256i a, __m256i b) { return _mm256_add_epi16(a, b); }
  static LOWBIT_AVX2_INLINE __m256i SubCodes(__m256i a, __m256i b) { return _mm256_sub_epi16(a, b); }
  static LOWBIT_AVX2_INLINE __m256i Add(__m256i a, __m256i b) { return _mm256_add_epi32(a, b); }
  static LOWBIT_AVX2_INLINE __m256i Sub(__m256i a, __m256i b) { return _mm256_sub_epi32(a, b); }
  static LOWBIT_AVX2_INLINE __m256i Widen(__m256i sums) { return sums; }
};

// Codes and weights of up to 4 bits or so: V and U in bytes, M in 16 bits.
struct Bytes {
  static constexpr const char* kName = "avx2 winograd bytes";
  using Code = uint8_t;
  using Weight = int8_t;
  using Sum = int16_t;
  using AddRound = Avx2AddBytes;
  static constexpr int64_t kRound = 4;
  static constexpr int64_t kLanes = 2;

  static LOWBIT_AVX2_INLINE __m256i AddCodes(__m256i a, __m256i b) { return _mm256_add_epi8(a, b); }
  static LOWBIT_AVX2_INLINE __m256i SubCodes(__m256i a, __m256i b) { return _mm256_sub_epi8(a, b); }
  static LOWBIT_AVX2_INLINE __m256i Add(__m256i a, __m256i b) { return _mm256_add_epi16(a, b); }
  static LOWBIT_AVX2_INLINE __m256i Sub(__m256i a, __m256i b) { return _mm256_sub_epi16(a, b); }
  static LOWBIT_AVX2_INLINE __m256i Widen(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }
};

template <typename T>
class Avx2WinogradConv : public ConvKernel {
 public:
  using Code = typename T::Code;
  using Weight = typename T::Weight;
  using Sum = typename T::Sum;

  explicit Avx2WinogradConv(const ConvProblem& problem)
      : problem_(problem),
        finish_(problem),
        patch_sums_(problem),
        channels_(problem.op->geometry.in_channels),
        offset_(T::kRound == 4 ? 2 * problem.input->max_code : 0) {
    is_exact_ = TakesShape() && MakeWeights() && FindChunks();
    if (is_exact_) FindStarts();
  }

  // Whether it can compute the problem, and exactly.
  bool is_exact() const { return is_exact_; }

  const char* name() const override { return T::kName; }

  // M and the sums of 4 tiles, and V of several times as many.
  int64_t scratch_bytes() const override {
    return patch_sums_.scratch_bytes() + static_cast<int64_t>(kNumbers * sizeof(Products) + 2 * sizeof(RowSums)) +
           kGroups * GroupCodes() * static_cast<int64_t>(sizeof(Code));
  }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    if (begin >= end) return;
    auto* const products = reinterpret_cast<Products*>(buffers.scratch + patch_sums_.scratch_bytes());
    auto* const sums = reinterpret_cast<RowSums*>(products + kNumbers);
    auto* const codes = reinterpret_cast<Code*>(sums + 2);
    patch_sums_.Make(buffers.input, begin, end, buffers.scratch);
    const int64_t width = problem_.output->width, height = problem_.output->height;
    const int64_t across = (width + 1) / 2;
    const int64_t last = (end + 1) / 2 * across;
    // Rows come in pairs; of a pair that is cut by [begin, end) one is left.
    for (int64_t first = begin / 2 * across; first < last; first += kGroups * kTiles) {
      const int64_t band_end = std::min(first + kGroups * kTiles, last);
      for (int64_t tile = first; tile < band_end; tile += kTiles) {
        TransformCodes(buffers.input, tile, band_end, codes + (tile - first) / kTiles * GroupCodes());
      }
      for (int64_t block = 0; block < Blocks(); ++block) {
        // Where a row of tiles begins, ...
        int64_t y = first / across * 2, row_start = first / across * across;
        const auto make_row = [&](int64_t at) LOWBIT_AVX2 {
          const int64_t inside = std::min(at, height - 1);
          return finish_.MakeRow(buffers, inside, block * kBlock, patch_sums_.Row(buffers.scratch, inside));
        };
        Avx2Finish::Row rows[2] = {make_row(y), make_row(y + 1)};
        for (int64_t group = first; group < band_end; group += kTiles) {
          for (size_t chunk = 0; chunk < chunk_ends_.size(); ++chunk) {
            Multiply(codes + (group - first) / kTiles * GroupCodes(), block, chunk, products);
            if (chunk == 0) {
              TransformProducts<false>(products, sums);
            } else {
              TransformProducts<true>(products, sums);
            }
          }
          // ... and those of the group that are in it.
          for (int64_t tile = group; tile < std::min(group + kTiles, band_end);) {
            if (tile == row_start + across) {
              row_start += across;
              y += 2;
              rows[0] = make_row(y);
              rows[1] = make_row(y + 1);
            }
            const int64_t tiles_end = std::min(std::min(group + kTiles, band_end), row_start + across);
            for (int64_t i = 0; i < 2; ++i) {
              if (y + i < begin || y + i >= end) continue;
              Avx2Finish::FinishRow(rows[i], sums[i] + 2 * (tile - group), 2 * (tile - row_start),
                                    std::min(2 * (tiles_end - row_start), width));
            }
            tile = tiles_end;
          }
        }
      }
    }
  }

 private:
  using Products = __m256i[kTiles][2];  // one number of M: for each tile 16 channels

  using RowSums = int32_t[2 * kTiles][kBlock];  // of the outputs of 4 tiles, one row of two

  bool TakesShape() const {
    const Conv2d& g = problem_.op->geometry;
    const Pair three = {3, 3}, one = {1, 1};
    if (g.kernel != three || g.stride != one || g.dilation != one || g.groups != 1) return false;
    if (channels_ % kChannels != 0) return false;
    const PlanTensor& out = *problem_.output;
    // Two tiles in a register end at the same pixels.
    if (T::kRound == 4 && channels_ % 32 != 0 && (out.width % 2 != 0 || out.height % 2 != 0)) return false;
    return out.width * out.height >= 4 * kTiles;
  }

  int64_t Blocks() const { return (problem_.op->geometry.out_channels + kBlock - 1) / kBlock; }
  int64_t GroupCodes() const { return kNumbers * kTiles * channels_; }
  // Of one number of a block.
  int64_t NumberWeights() const { return channels_ * kBlock; }

  // U of one input and one output channel; `g`: its taps, so many numbers apart.
  static void TransformWeights(const int8_t* g, int64_t step, int32_t (*u)[4]) {
    const auto transform = [](int32_t a, int32_t b, int32_t c, int32_t(&out)[4]) {
      out[0] = 2 * a;
      out[1] = a + b + c;
      out[2] = a - b + c;
      out[3] = 2 * c;
    };
    int32_t columns[3][4];  // G g, [column][row]
    for (int64_t x = 0; x < 3; ++x) transform(g[x * step], g[(3 + x) * step], g[(6 + x) * step], columns[x]);
    for (int64_t y = 0; y < 4; ++y) transform(columns[0][y], columns[1][y], columns[2][y], u[y]);
  }

  // False if U, or the products of a round, do not fit.
  bool MakeWeights() {
    constexpr int32_t kMost = std::numeric_limits<Weight>::max();
    const int64_t rounds = channels_ / T::kRound;
    weights_.resize(static_cast<size_t>(Blocks() * kNumbers * NumberWeights()));
    if (T::kRound == 4 && 3 * offset_ > 255) return false;
    for (int64_t o = 0; o < problem_.op->geometry.out_channels; ++o) {
      for (int64_t c = 0; c < channels_; ++c) {
        int32_t u[4][4];
        TransformWeights(problem_.op->weight.data() + o * 9 * channels_ + c, channels_, u);
        for (int64_t number = 0; number < kNumbers; ++number) {
          const int32_t value = u[number / 4][number % 4];
          if (std::abs(value) > kMost || (T::kRound == 4 && 2 * std::abs(value) * 3 * offset_ > 32767)) return false;
          const int64_t round = ((o / kBlock) * kNumbers + number) * rounds + c / T::kRound;
          weights_[static_cast<size_t>((round * kBlock + o % kBlock) * T::kRound + c % T::kRound)] =
              static_cast<Weight>(value);
        }
      }
    }
    return true;
  }

  // Cuts the input channels into chunks for which 4 Y fits, by the actual weights. False if that leaves too few to be
  // faster than other ways.
  bool FindChunks() {
    const int64_t outputs = problem_.op->geometry.out_channels;
    std::vector<int64_t> highest(static_cast<size_t>(outputs * T::kLanes), 0), lowest = highest;
    chunk_ends_.clear();
    int64_t start = 0;
    for (int64_t c = 0; c < channels_;) {
      if (AddChannels(c, &highest, &lowest)) {
        c += kChannels;
        continue;
      }
      if (c == start) return false;
      chunk_ends_.push_back(c);
      start = c;
      std::fill(highest.begin(), highest.end(), 0);
      std::fill(lowest.begin(), lowest.end(), 0);
    }
    chunk_ends_.push_back(channels_);
    const int64_t chunks = static_cast<int64_t>(chunk_ends_.size());
    return chunks == 1 || channels_ / chunks >= 2 * kChannels;
  }

  // False, and nothing of use in the bounds, if a sum could be too large.
  bool AddChannels(int64_t first, std::vector<int64_t>* highest, std::vector<int64_t>* lowest) const {
    const int64_t factor = 4 * problem_.input->max_code;
    for (int64_t o = 0; o < problem_.op->geometry.out_channels; ++o) {
      for (int64_t tap = 0; tap < 9; ++tap) {
        const int8_t* const weights = problem_.op->weight.data() + (o * 9 + tap) * channels_;
        for (int64_t c = first; c < first + kChannels; ++c) {
          const size_t at = static_cast<size_t>(o * T::kLanes + c / 2 % T::kLanes);
          (weights[c] > 0 ? (*highest)[at] : (*lowest)[at]) += weights[c] * factor;
        }
      }
      for (size_t at = static_cast<size_t>(o * T::kLanes); at < static_cast<size_t>((o + 1) * T::kLanes); ++at) {
        if ((*highest)[at] > std::numeric_limits<Sum>::max()) return false;
        if ((*lowest)[at] < std::numeric_limits<Sum>::min()) return false;
      }
    }
    return true;
  }

  // What M starts with.
  void FindStarts() {
    const size_t in_register = 32 / sizeof(Sum);
    for (int64_t block = 0; block < Blocks(); ++block) {
      int64_t begin = 0;
      for (const int64_t end : chunk_ends_) {
        for (int64_t number = 0; number < kNumbers; ++number) {
          const Weight* const w = weights_.data() + (block * kNumbers + number) * NumberWeights();
          for (size_t i = 0; i < 2 * in_register; ++i) {
            int64_t sum = 0;
            for (int64_t round = begin / T::kRound; round < end / T::kRound; ++round) {
              const Weight* const of_lane =
                  w + (round * static_cast<int64_t>(2 * in_register) + static_cast<int64_t>(i)) * 2;
              sum += of_lane[0] + of_lane[1];
            }
            starts_.push_back(static_cast<Sum>(-sum * offset_));
          }
        }
        begin = end;
      }
    }
  }

  // ---- V ----

  // V of the 4 tiles from `first` on, [number][tile][channel]. Of fewer than 4 the last one is repeated.
  LOWBIT_AVX2_INLINE void TransformCodes(const uint8_t* input, int64_t first, int64_t last, Code* out) const {
    const int64_t width = problem_.output->width, height = problem_.output->height;
    const int64_t across = (width + 1) / 2;
    Corner corners[kTiles];
    for (int64_t tile = 0; tile < kTiles; ++tile) {
      const int64_t at = std::min(first + tile, last - 1);
      const int64_t y = at / across * 2, x = at % across * 2;
      corners[tile] = {input + WindowStart(problem_, y, x), y + 1 < height ? 3 : 2, x + 1 < width ? 3 : 2};
    }
    const int64_t number_step = kTiles * channels_;
    if constexpr (T::kRound == 2) {
      const auto load = [&](const uint8_t* from) LOWBIT_AVX2 { return _mm256_cvtepu8_epi16(Load16(from)); };
      const auto store = [&](Code* to, __m256i v)
                             LOWBIT_AVX2 { _mm256_store_si256(reinterpret_cast<__m256i*>(to), v); };
      for (int64_t tile = 0; tile < kTiles; ++tile) {
        for (int64_t c = 0; c < channels_; c += 16) {
          TransformTile(corners[tile], c, load, out + tile * channels_ + c, number_step, store);
        }
      }
    } else if (channels_ % 32 == 0) {
      const auto load = [&](const uint8_t* from)
                            LOWBIT_AVX2 { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); };
      const auto store = [&](Code* to, __m256i v)
                             LOWBIT_AVX2 { _mm256_store_si256(reinterpret_cast<__m256i*>(to), v); };
      for (int64_t tile = 0; tile < kTiles; ++tile) {
        for (int64_t c = 0; c < channels_; c += 32) {
          TransformTile(corners[tile], c, load, out + tile * channels_ + c, number_step, store);
        }
      }
    } else {
      // 16 channels of two tiles in a register.
      for (int64_t tile = 0; tile < kTiles; tile += 2) {
        const int64_t to_next = corners[tile + 1].start - corners[tile].start;
        const auto load = [to_next](const uint8_t* from) LOWBIT_AVX2 {
          return _mm256_inserti128_si256(_mm256_castsi128_si256(Load16(from)), Load16(from + to_next), 1);
        };
        const auto store = [this](Code* to, __m256i v) LOWBIT_AVX2 {
          _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(v));
          _mm_store_si128(reinterpret_cast<__m128i*>(to + channels_), _mm256_extracti128_si256(v, 1));
        };
        for (int64_t c = 0; c < channels_; c += 16) {
          TransformTile(corners[tile], c, load, out + tile * channels_ + c, number_step, store);
        }
      }
    }
  }

  static LOWBIT_AVX2_INLINE __m128i Load16(const uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  }

  // The first pixel of a tile, and how far from it the last row and column are: of outputs beyond the image's last row
  // or column, which nobody wants, the pixels are not there.
  struct Corner {
    const uint8_t* start;
    int64_t last_row, last_column;
  };

  // Channels from c on of a tile. `load(from)` makes numbers of codes; `store(to, v)`, numbers `number_step` apart.
  template <typename Load, typename Store>
  LOWBIT_AVX2_INLINE void TransformTile(const Corner& corner, int64_t c, const Load& load, Code* to,
                                        int64_t number_step, const Store& store) const {
    const TensorLayout& in = problem_.input_layout;
    const int64_t row = in.row, last_row = corner.last_row * in.row;
    const uint8_t* from = corner.start + c;
    const __m256i offset = _mm256_set1_epi8(static_cast<char>(offset_));
    const auto raise = [&](__m256i v) LOWBIT_AVX2 { return T::kRound == 4 ? T::AddCodes(v, offset) : v; };
    __m256i columns[4][4];  // B' d, [row][column]
    for (int64_t x = 0; x < 4; ++x, from += in.pixel) {
      if (x == 3) from = corner.start + c + corner.last_column * in.pixel;
      asm("" : "+r"(from));  // or all addresses are made, and spilled, beforehand
      const __m256i d0 = load(from), d1 = load(from + row), d2 = load(from + 2 * row), d3 = load(from + last_row);
      columns[0][x] = T::SubCodes(d0, d2);
      columns[1][x] = T::AddCodes(d1, d2);
      columns[2][x] = T::SubCodes(d2, d1);
      columns[3][x] = T::SubCodes(d1, d3);
    }
    const auto put = [&](__m256i v) LOWBIT_AVX2 {
      store(to, v);
      to += number_step;
      asm("" : "+r"(to));
    };
    for (const auto& c : columns) {
      const __m256i raised1 = raise(c[1]);
      put(T::SubCodes(raise(c[0]), c[2]));
      put(T::AddCodes(raised1, c[2]));
      put(T::SubCodes(raise(c[2]), c[1]));
      put(T::SubCodes(raised1, c[3]));
    }
  }

  // ---- M and Y ----

  // M of 4 tiles for the block's 16 channels, of one chunk of the input channels.
  LOWBIT_AVX2_INLINE void Multiply(const Code* codes, int64_t block, size_t chunk, Products* products) const {
    constexpr int64_t kRounds = kChannels / T::kRound;
    const int64_t channels = channels_;
    const int64_t begin = chunk == 0 ? 0 : chunk_ends_[chunk - 1], end = chunk_ends_[chunk];
    const auto* start = reinterpret_cast<const __m256i*>(starts_.data()) +
                        (static_cast<size_t>(block) * chunk_ends_.size() + chunk) * kNumbers * 2;
    const Weight* weights = weights_.data() + block * kNumbers * NumberWeights() + begin * kBlock;
    for (int64_t number = 0; number < kNumbers; ++number, start += 2) {
      const Code* const codes1 = codes + channels;
      const Code* const codes2 = codes1 + channels;
      const Code* const codes3 = codes2 + channels;
      const Weight* w = weights;
      Avx2Tile tile;
      for (auto& sums : tile.sums) {
        sums[0] = T::kRound == 4 ? start[0] : _mm256_setzero_si256();
        sums[1] = T::kRound == 4 ? start[1] : _mm256_setzero_si256();
      }
      for (int64_t c = begin; c < end; c += kChannels, w += kChannels * kBlock) {
        for (int64_t k = 0; k < kRounds * T::kRound; k += T::kRound) {
          tile.AddRound(w + k * kBlock, codes + c + k, codes1 + c + k, codes2 + c + k, codes3 + c + k,
                        typename T::AddRound());
        }
      }
      for (int64_t i = 0; i < kTiles; ++i) {
        products[number][i][0] = tile.sums[i][0];
        products[number][i][1] = tile.sums[i][1];
      }
      codes += kTiles * channels;
      weights += NumberWeights();
    }
  }

  // Y of 4 tiles, or Y added to what is there.
  template <bool kAdd>
  static LOWBIT_AVX2_INLINE void TransformProducts(const Products* products, RowSums* out) {
    for (int64_t i = 0; i < 2 * kTiles; ++i) {
      const int64_t tile = i / 2, half = i % 2;
      __m256i sides[2][4];  // A' M, [row][column]
      for (int64_t x = 0; x < 4; ++x) {
        const auto m = [&](int64_t y) LOWBIT_AVX2 { return products[4 * y + x][tile][half]; };
        const __m256i m1 = m(1), m2 = m(2);
        sides[0][x] = T::Add(T::Add(m(0), m1), m2);
        sides[1][x] = T::Sub(T::Sub(m1, m2), m(3));
      }
      for (int64_t y = 0; y < 2; ++y) {
        const __m256i* const s = sides[y];
        const auto put = [&](int64_t column, __m256i four_sums) LOWBIT_AVX2 {
          auto* const to = reinterpret_cast<__m256i*>(out[y][2 * tile + column]) + half;
          const __m256i sum = _mm256_srai_epi32(T::Widen(four_sums), 2);
          _mm256_store_si256(to, kAdd ? _mm256_add_epi32(sum, *to) : sum);
        };
        put(0, T::Add(T::Add(s[0], s[1]), s[2]));
        put(1, T::Sub(T::Sub(s[1], s[2]), s[3]));
      }
    }
  }

  const ConvProblem problem_;
  const Avx2Finish finish_;
  const Avx2PatchSums patch_sums_;
  const int64_t channels_;
  const int32_t offset_;           // of V
  AlignedVector<Weight> weights_;  // U, [block, number, round, channel of the block, codes of a round]
  AlignedVector<Sum> starts_;      // [block, chunk, number, 64 bytes]
  std::vector<int64_t> chunk_ends_;
  bool is_exact_ = false;
};

template <typename T>
std::unique_ptr<ConvKernel> Make(const ConvProblem& problem) {
  auto kernel = std::make_unique<Avx2WinogradConv<T>>(problem);
  if (!kernel->is_exact()) return nullptr;
  return kernel;
}

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx2WinogradConv(const ConvProblem& problem) { return Make<Words>(problem); }
std::unique_ptr<ConvKernel> MakeAvx2WinogradByteConv(const ConvProblem& problem) { return Make<Bytes>(problem); }

#else

std::unique_ptr<ConvKernel> MakeAvx2WinogradConv(const ConvProblem&) { return nullptr; }
std::unique_ptr<ConvKernel> MakeAvx2WinogradByteConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
