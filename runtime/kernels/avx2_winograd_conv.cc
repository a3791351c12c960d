// 3 by 3 windows by Winograd's minimal filtering, F(2 x 2, 3 x 3) (Lavin and Gray 2015, arXiv 1509.09308), in whole
// numbers: 16 products for 4 outputs instead of 36.
//
// Of a tile of 4 by 4 codes d, and the weights g of one input and one output channel,
//
//   V = B' d B        B' = [1  0 -1  0]      codes up to 255: |V| <= 1020
//                          [0  1  1  0]
//                          [0 -1  1  0]
//                          [0  1  0 -1]
//   U = G g G'        G  = [2  0  0]         twice Winograd's own G, so that U is whole; weights in [-128, 127]: |U| <=
//   1152
//                          [1  1  1]
//                          [1 -1  1]
//                          [0  0  2]
//   4 Y = A' M A      A' = [1  1  1  0]      M = the sum over the input channels of U * V, number by number
//                          [0  1 -1 -1]
//
// Y are the sums of the 2 by 2 outputs. Sums are right modulo 2^32 whatever happens on the way, and 4 Y fits: so Y is
// exact.
//
// Products are those of avx2_word_conv.cc, 4 tiles by 16 channels at a time for each of the 16 numbers of a tile.

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "runtime/aligned_vector.h"
#include "runtime/kernels/avx2_conv.h"
#include "runtime/kernels/window.h"

#if defined(__x86_64__)
#include "runtime/kernels/avx2_finish.h"
#include "runtime/kernels/avx2_tile.h"
#endif

namespace lowbit {

#if defined(__x86_64__)
namespace {

constexpr int64_t kBlock = Avx2Finish::kChannels;
constexpr int64_t kTiles = Avx2Tile::kPixels;
constexpr int64_t kNumbers = 16;  // of a tile
constexpr int64_t kRoundWeights = 2 * kBlock;

class Avx2WinogradConv : public ConvKernel {
 public:
  explicit Avx2WinogradConv(const ConvProblem& problem)
      : problem_(problem), finish_(problem), channels_(problem.op->geometry.in_channels) {
    if (TakesShape()) MakeWeights();
  }

  // Whether it can compute the problem.
  bool fits() const { return !weights_.empty(); }

  const char* name() const override { return "avx2 winograd"; }

  // The sums of two rows, M of 4 tiles, and V of 4 tiles.
  int64_t scratch_bytes() const override {
    return 2 * RowBytes() + kNumbers * kTiles * kBlock * 4 + kNumbers * kTiles * channels_ * 2;
  }

  LOWBIT_AVX2 void Run(const ConvBuffers& buffers, int64_t begin, int64_t end) const override {
    const int64_t tiles = problem_.output->width / 2;
    const int64_t blocks = Blocks();
    auto* const products = reinterpret_cast<int32_t(*)[kTiles][kBlock]>(buffers.scratch);
    auto* const codes = reinterpret_cast<int16_t*>(products + kNumbers);
    auto* const rows = reinterpret_cast<int32_t*>(codes + kNumbers * kTiles * channels_);
    // Rows come in pairs; of a pair that is cut by [begin, end) one is left.
    for (int64_t y = begin / 2 * 2; y < end; y += 2) {
      for (int64_t x = 0; x < tiles; x += kTiles) {
        const int64_t tile = std::min(x, tiles - kTiles);  // the last four may overlap those before
        TransformCodes(buffers.input + WindowStart(problem_, y, 2 * tile), codes);
        for (int64_t block = 0; block < blocks; ++block) {
          const int16_t* const weights = weights_.data() + block * kNumbers * (channels_ / 2) * kRoundWeights;
          for (int64_t number = 0; number < kNumbers; ++number) {
            Multiply(codes + number * kTiles * channels_, weights + number * (channels_ / 2) * kRoundWeights, channels_,
                     products[number]);
          }
          int32_t* const out = rows + block * 2 * problem_.output->width * kBlock;
          TransformProducts(products, out + 2 * tile * kBlock, out + (problem_.output->width + 2 * tile) * kBlock);
        }
      }
      for (int64_t block = 0; block < blocks; ++block) {
        for (int64_t row = std::max(y, begin); row < std::min(y + 2, end); ++row) {
          const int32_t* const sums = rows + (block * 2 + row - y) * problem_.output->width * kBlock;
          Avx2Finish::FinishRow(finish_.MakeRow(buffers, row, block * kBlock),
                                reinterpret_cast<const int32_t(*)[kBlock]>(sums), nullptr, 0, problem_.output->width);
        }
      }
    }
  }

 private:
  bool TakesShape() const {
    const Conv2d& g = problem_.op->geometry;
    const Pair three = {3, 3}, one = {1, 1};
    if (g.kernel != three || g.stride != one || g.dilation != one || g.groups != 1 || channels_ % 16 != 0) return false;
    if (finish_.needs_patch_sums()) return false;
    return problem_.output->width % 2 == 0 && problem_.output->height % 2 == 0 &&
           problem_.output->width >= 2 * kTiles && FourSumsFit();
  }

  bool FourSumsFit() const {
    const int64_t row = 9 * channels_;
    for (int64_t o = 0; o < problem_.op->geometry.out_channels; ++o) {
      int64_t most = 0;
      for (int64_t i = 0; i < row; ++i) most += std::abs(problem_.op->weight[static_cast<size_t>(o * row + i)]);
      if (4 * most * problem_.input->max_code > std::numeric_limits<int32_t>::max()) return false;
    }
    return true;
  }

  int64_t Blocks() const { return (problem_.op->geometry.out_channels + kBlock - 1) / kBlock; }
  // Of the sums of all blocks of one row.
  int64_t RowBytes() const { return Blocks() * problem_.output->width * kBlock * 4; }

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

  void MakeWeights() {
    weights_.resize(static_cast<size_t>(Blocks() * kNumbers * channels_ * kBlock));
    for (int64_t o = 0; o < problem_.op->geometry.out_channels; ++o) {
      for (int64_t c = 0; c < channels_; ++c) {
        int32_t u[4][4];
        TransformWeights(problem_.op->weight.data() + o * 9 * channels_ + c, channels_, u);
        for (int64_t number = 0; number < kNumbers; ++number) {
          const int64_t round = ((o / kBlock) * kNumbers + number) * (channels_ / 2) + c / 2;
          weights_[static_cast<size_t>(round * kRoundWeights + o % kBlock * 2 + c % 2)] =
              static_cast<int16_t>(u[number / 4][number % 4]);
        }
      }
    }
  }

  // V of 4 tiles side by side, [number][tile][channel]; `start`: the first code of the first tile.
  LOWBIT_AVX2_INLINE void TransformCodes(const uint8_t* start, int16_t* out) const {
    const TensorLayout& in = problem_.input_layout;
    for (int64_t tile = 0; tile < kTiles; ++tile, start += 2 * in.pixel) {
      for (int64_t channel = 0; channel < channels_; channel += 16) {
        __m256i columns[4][4];  // B' d, [row][column]
        for (int64_t x = 0; x < 4; ++x) {
          __m256i d[4];
          for (int64_t y = 0; y < 4; ++y) {
            d[y] = _mm256_cvtepu8_epi16(
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(start + y * in.row + x * in.pixel + channel)));
          }
          columns[0][x] = _mm256_sub_epi16(d[0], d[2]);
          columns[1][x] = _mm256_add_epi16(d[1], d[2]);
          columns[2][x] = _mm256_sub_epi16(d[2], d[1]);
          columns[3][x] = _mm256_sub_epi16(d[1], d[3]);
        }
        const auto store = [&](int64_t number, __m256i v) LOWBIT_AVX2 {
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + (number * kTiles + tile) * channels_ + channel), v);
        };
        for (int64_t y = 0; y < 4; ++y) {
          store(4 * y, _mm256_sub_epi16(columns[y][0], columns[y][2]));
          store(4 * y + 1, _mm256_add_epi16(columns[y][1], columns[y][2]));
          store(4 * y + 2, _mm256_sub_epi16(columns[y][2], columns[y][1]));
          store(4 * y + 3, _mm256_sub_epi16(columns[y][1], columns[y][3]));
        }
      }
    }
  }

  // M of one number of 4 tiles for 16 channels.
  static LOWBIT_AVX2_INLINE void Multiply(const int16_t* codes, const int16_t* w, int64_t channels,
                                          int32_t (*out)[kBlock]) {
    const int16_t* const codes1 = codes + channels;
    const int16_t* const codes2 = codes1 + channels;
    const int16_t* const codes3 = codes2 + channels;
    Avx2Tile tile;
    tile.Clear();
    for (int64_t c = 0; c < channels; c += 4, w += 2 * kRoundWeights) {
      for (int64_t k = 0; k < 4; k += 2) {
        tile.AddRound(w + k * kBlock, codes + c + k, codes1 + c + k, codes2 + c + k, codes3 + c + k, Avx2AddWords());
      }
    }
    tile.Store(out);
  }

  // Y of 4 tiles: 8 pixels of two rows, 16 channels each.
  static LOWBIT_AVX2_INLINE void TransformProducts(const int32_t (*products)[kTiles][kBlock], int32_t* row0,
                                                   int32_t* row1) {
    for (int64_t tile = 0; tile < kTiles; ++tile) {
      for (int64_t half = 0; half < kBlock; half += 8) {
        __m256i sides[2][4];  // A' M, [row][column]
        for (int64_t x = 0; x < 4; ++x) {
          __m256i m[4];
          for (int64_t y = 0; y < 4; ++y) {
            m[y] = _mm256_load_si256(reinterpret_cast<const __m256i*>(products[4 * y + x][tile] + half));
          }
          sides[0][x] = _mm256_add_epi32(_mm256_add_epi32(m[0], m[1]), m[2]);
          sides[1][x] = _mm256_sub_epi32(_mm256_sub_epi32(m[1], m[2]), m[3]);
        }
        for (int64_t y = 0; y < 2; ++y) {
          const __m256i left = _mm256_add_epi32(_mm256_add_epi32(sides[y][0], sides[y][1]), sides[y][2]);
          const __m256i right = _mm256_sub_epi32(_mm256_sub_epi32(sides[y][1], sides[y][2]), sides[y][3]);
          int32_t* const out = (y == 0 ? row0 : row1) + 2 * tile * kBlock + half;
          _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm256_srai_epi32(left, 2));
          _mm256_store_si256(reinterpret_cast<__m256i*>(out + kBlock), _mm256_srai_epi32(right, 2));
        }
      }
    }
  }

  const ConvProblem problem_;
  const Avx2Finish finish_;
  const int64_t channels_;
  AlignedVector<int16_t> weights_;  // U, [block, number, round, channel of the block, 2]
};

}  // namespace

std::unique_ptr<ConvKernel> MakeAvx2WinogradConv(const ConvProblem& problem) {
  auto kernel = std::make_unique<Avx2WinogradConv>(problem);
  if (!kernel->fits()) return nullptr;
  return kernel;
}

#else

std::unique_ptr<ConvKernel> MakeAvx2WinogradConv(const ConvProblem&) { return nullptr; }

#endif

}  // namespace lowbit
