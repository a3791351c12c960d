#include "quant/packing.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

constexpr int kWidths[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};

std::string Bytes(const std::vector<int>& bytes) { return std::string(bytes.begin(), bytes.end()); }

std::vector<int32_t> Unpack(absl::string_view packed, size_t size, int64_t row_size, int bits, int32_t qmin) {
  std::vector<int32_t> codes(size, 77);
  UnpackCodes(packed, row_size, bits, qmin, absl::MakeSpan(codes));
  return codes;
}

// The layout of packing.h, written down bit by bit.
std::string PackBitByBit(const std::vector<int32_t>& codes, int64_t row_size, int bits, int32_t qmin) {
  const int64_t rows = static_cast<int64_t>(codes.size()) / row_size;
  const int64_t row_bytes = PackedRowBytes(row_size, bits);
  std::string packed(static_cast<size_t>(rows * row_bytes), '\0');
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < row_size; ++i) {
      const int32_t u = codes[static_cast<size_t>(row * row_size + i)] - qmin;
      for (int bit = 0; bit < bits; ++bit) {
        const int64_t k = i * bits + bit;
        const size_t byte = static_cast<size_t>(row * row_bytes + k / 8);
        if ((u >> bit) & 1) packed[byte] = static_cast<char>(packed[byte] | (1 << (k % 8)));
      }
    }
  }
  return packed;
}

TEST(PackingTest, LayoutIsTheDocumentedOne) {
  EXPECT_EQ(PackCodes({-2, -1, 0, 1, 1}, 5, 2, -2), Bytes({0xE4, 0x03}));
  EXPECT_EQ(PackCodes({1, 2, 3}, 3, 3, 0), Bytes({0xD1, 0x00}));
  EXPECT_EQ(PackCodes({-1, 0, 0, -1, 0, 0, 0, 0, 0}, 9, 1, -1), Bytes({0xF6, 0x01}));
  EXPECT_EQ(PackCodes({-8, 7, 0}, 3, 4, -8), Bytes({0xF0, 0x08}));
  EXPECT_EQ(PackCodes({-128, 127, 0}, 3, 8, -128), Bytes({0x00, 0xFF, 0x80}));
  EXPECT_EQ(PackCodes({-32768, -32767, 32767}, 3, 16, -32768), Bytes({0, 0, 1, 0, 0xFF, 0xFF}));
}

TEST(PackingTest, RowsStartOnBytes) {
  // Two rows of three 3-bit codes: 9 bits and so 2 bytes each.
  EXPECT_EQ(PackCodes({1, 2, 3, 7, 7, 7}, 3, 3, 0), Bytes({0xD1, 0x00, 0xFF, 0x01}));
}

TEST(PackingTest, RowBytes) {
  // Rows of ResNet-20's weights.
  EXPECT_EQ(PackedRowBytes(27, 2), 7);
  EXPECT_EQ(PackedRowBytes(144, 2), 36);
  EXPECT_EQ(PackedRowBytes(576, 1), 72);
  EXPECT_EQ(PackedRowBytes(27, 3), 11);
  EXPECT_EQ(PackedRowBytes(1, 1), 1);
  EXPECT_EQ(PackedRowBytes(5, 16), 10);
}

// Every code in every position that a code can have in a byte, among neighbours of all ones and of all zeros.
TEST(PackingTest, EveryCodeInEveryPositionAtEveryWidth) {
  for (const int bits : kWidths) {
    for (const int32_t qmin : {0, -(1 << (bits - 1))}) {
      const int32_t top = (1 << bits) - 1;
      for (int32_t u = 0; u <= top; ++u) {
        for (int position = 0; position < 8; ++position) {
          for (const int32_t around : {0, top}) {
            std::vector<int32_t> codes(9, around + qmin);
            codes[static_cast<size_t>(position)] = u + qmin;
            const std::string packed = PackCodes(codes, 9, bits, qmin);
            ASSERT_EQ(packed, PackBitByBit(codes, 9, bits, qmin)) << bits << " bits, code " << u << " at " << position;
            ASSERT_EQ(Unpack(packed, 9, 9, bits, qmin), codes) << bits << " bits, code " << u << " at " << position;
          }
        }
      }
    }
  }
}

TEST(PackingTest, EveryRowLengthAtEveryWidth) {
  for (const int bits : kWidths) {
    const int32_t qmin = -(1 << (bits - 1));
    for (int64_t row_size = 1; row_size <= 40; ++row_size) {
      std::vector<int32_t> codes;
      for (int64_t i = 0; i < 3 * row_size; ++i)
        codes.push_back(static_cast<int32_t>((i * 40503 + 7) % (1 << bits)) + qmin);
      const std::string packed = PackCodes(codes, row_size, bits, qmin);
      ASSERT_EQ(packed.size(), static_cast<size_t>(3 * ((row_size * bits + 7) / 8)));
      ASSERT_EQ(packed, PackBitByBit(codes, row_size, bits, qmin)) << bits << " bits, rows of " << row_size;
      ASSERT_EQ(Unpack(packed, codes.size(), row_size, bits, qmin), codes) << bits << " bits, rows of " << row_size;
      ASSERT_TRUE(CheckPacked(packed, 3, row_size, bits).ok());
    }
  }
}

TEST(PackingTest, CheckPackedRefusesWrongLengths) {
  EXPECT_EQ(CheckPacked(std::string(13, '\0'), 2, 27, 2).message(),
            "2 rows of 27 codes of 2 bits take 14 bytes, got 13");
  EXPECT_EQ(CheckPacked(std::string(15, '\0'), 2, 27, 2).message(),
            "2 rows of 27 codes of 2 bits take 14 bytes, got 15");
  EXPECT_TRUE(CheckPacked(std::string(14, '\0'), 2, 27, 2).ok());
}

TEST(PackingTest, CheckPackedRefusesBitsAfterTheLastCode) {
  std::string packed(14, '\0');
  packed[13] = 0x3F;  // 27 codes of 2 bits use 6 bits of the last byte
  EXPECT_TRUE(CheckPacked(packed, 2, 27, 2).ok());
  packed[13] = 0x40;
  EXPECT_EQ(CheckPacked(packed, 2, 27, 2).message(), "row 1 has bits set after its last code");
  EXPECT_TRUE(CheckPacked(std::string(8, '\xFF'), 2, 16, 2).ok());
}

TEST(PackingDeathTest, RefusesWhatDoesNotFit) {
  EXPECT_DEATH(PackCodes({0, 2}, 2, 2, -2), "code 2 is out of range for 2 bits from -2");
  EXPECT_DEATH(PackCodes({-3}, 1, 2, -2), "code -3 is out of range");
  EXPECT_DEATH(PackCodes({0, 0, 0}, 2, 2, -2), "3 codes are no whole rows of 2");
  EXPECT_DEATH(PackCodes({0}, 1, 9, 0), "no codes have 9 bits");
  EXPECT_DEATH(Unpack("ab", 4, 4, 2, 0), "2 bytes instead of 1 rows of 1");
}

}  // namespace
}  // namespace lowbit
