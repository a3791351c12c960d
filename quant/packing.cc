#include "quant/packing.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "quant/quant_params.h"

namespace lowbit {
namespace {

void CheckArguments(int64_t codes, int64_t row_size, int bits) {
  LOWBIT_CHECK(IsSupportedWidth(bits), "no codes have ", bits, " bits");
  LOWBIT_CHECK(row_size > 0 && codes % row_size == 0, codes, " codes are no whole rows of ", row_size);
}

void PackRow(const int32_t* codes, int64_t row_size, int bits, int32_t qmin, unsigned char* out) {
  uint32_t pending = 0;  // bits not written yet, the next one lowest; fewer than 8 between codes
  int pending_bits = 0;
  for (int64_t i = 0; i < row_size; ++i) {
    const uint32_t u = static_cast<uint32_t>(codes[i]) - static_cast<uint32_t>(qmin);
    LOWBIT_CHECK(u < uint32_t{1} << bits, "code ", codes[i], " is out of range for ", bits, " bits from ", qmin);
    pending |= u << pending_bits;
    pending_bits += bits;
    for (; pending_bits >= 8; pending_bits -= 8) {
      *out++ = static_cast<unsigned char>(pending & 0xFF);
      pending >>= 8;
    }
  }
  if (pending_bits > 0) *out = static_cast<unsigned char>(pending);
}

void UnpackRow(const unsigned char* in, int64_t row_size, int bits, int32_t qmin, int32_t* codes) {
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  uint32_t pending = 0;
  int pending_bits = 0;
  for (int64_t i = 0; i < row_size; ++i) {
    for (; pending_bits < bits; pending_bits += 8) pending |= static_cast<uint32_t>(*in++) << pending_bits;
    codes[i] = static_cast<int32_t>(pending & mask) + qmin;
    pending >>= bits;
    pending_bits -= bits;
  }
}

}  // namespace

int64_t PackedRowBytes(int64_t row_size, int bits) { return (row_size * bits + 7) / 8; }

std::string PackCodes(absl::Span<const int32_t> codes, int64_t row_size, int bits, int32_t qmin) {
  const int64_t size = static_cast<int64_t>(codes.size());
  CheckArguments(size, row_size, bits);
  const int64_t row_bytes = PackedRowBytes(row_size, bits);
  const int64_t rows = size / row_size;
  std::string packed(static_cast<size_t>(rows * row_bytes), '\0');
  unsigned char* out = reinterpret_cast<unsigned char*>(&packed[0]);
  for (int64_t row = 0; row < rows; ++row) {
    PackRow(codes.data() + row * row_size, row_size, bits, qmin, out + row * row_bytes);
  }
  return packed;
}

void UnpackCodes(absl::string_view packed, int64_t row_size, int bits, int32_t qmin, absl::Span<int32_t> codes) {
  const int64_t size = static_cast<int64_t>(codes.size());
  CheckArguments(size, row_size, bits);
  const int64_t row_bytes = PackedRowBytes(row_size, bits);
  const int64_t rows = size / row_size;
  LOWBIT_CHECK(static_cast<int64_t>(packed.size()) == rows * row_bytes, packed.size(), " bytes instead of ", rows,
               " rows of ", row_bytes);
  const unsigned char* in = reinterpret_cast<const unsigned char*>(packed.data());
  for (int64_t row = 0; row < rows; ++row) {
    UnpackRow(in + row * row_bytes, row_size, bits, qmin, codes.data() + row * row_size);
  }
}

absl::Status CheckPacked(absl::string_view packed, int64_t rows, int64_t row_size, int bits) {
  CheckArguments(row_size, row_size, bits);
  const int64_t row_bytes = PackedRowBytes(row_size, bits);
  if (static_cast<int64_t>(packed.size()) != rows * row_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(rows, " rows of ", row_size, " codes of ", bits, " bits take ",
                                                   rows * row_bytes, " bytes, got ", packed.size()));
  }
  const int used = static_cast<int>(row_size * bits % 8);  // bits of a row's last byte; 0: all
  if (used == 0) return absl::OkStatus();
  for (int64_t row = 0; row < rows; ++row) {
    const unsigned char last = static_cast<unsigned char>(packed[static_cast<size_t>((row + 1) * row_bytes - 1)]);
    if (last >> used != 0) {
      return absl::InvalidArgumentError(absl::StrCat("row ", row, " has bits set after its last code"));
    }
  }
  return absl::OkStatus();
}

}  // namespace lowbit
