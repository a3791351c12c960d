#ifndef LOWBIT_QUANT_PACKING_H_
#define LOWBIT_QUANT_PACKING_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lowbit {

// Codes of 1 to 8 or 16 bits without a wasted bit inside a row. This layout is what an artifact holds (packing version
// 1):
//
// - A tensor is a list of rows of equal length: one row for each index of its first dimension (the output channels of
//   a weight), the row's elements in row-major order of the other dimensions.
// - A row of n codes takes ceil(n * bits / 8) bytes. Rows follow each other; every row starts on a byte.
// - Code q is stored as the unsigned number u = q - qmin of `bits` bits.
// - A row is a stream of bits, where bit k is bit (k mod 8) of byte (k / 8), counted from the least significant. Code i
//   takes bits [i * bits, (i + 1) * bits), least significant first. Bits after the last code are 0.
//
//   bits = 2, q = {-2, -1, 0, 1, 1}:  u = {0, 1, 2, 3, 3}  ->  0b11'10'01'00, 0b000000'11  =  E4 03
//   bits = 3, u = {1, 2, 3}:  0b11'010'001, 0b0000000'0  =  D1 00
//   bits = 16: u as a little-endian 16-bit number. bits = 8: the byte u.
constexpr int kPackingVersion = 1;

// Bytes of a row of `row_size` codes.
int64_t PackedRowBytes(int64_t row_size, int bits);

// `codes` holds whole rows of `row_size` codes in [qmin, qmin + 2^bits - 1]. Anything else ends the process.
std::string PackCodes(absl::Span<const int32_t> codes, int64_t row_size, int bits, int32_t qmin);

// The reverse. `packed` must hold just the rows that fill `codes`.
void UnpackCodes(absl::string_view packed, int64_t row_size, int bits, int32_t qmin, absl::Span<int32_t> codes);

// What an untrusted `packed` has to fulfil before UnpackCodes: the length of `rows` rows, and zeros in the bits after
// each row's last code. InvalidArgument otherwise.
absl::Status CheckPacked(absl::string_view packed, int64_t rows, int64_t row_size, int bits);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_PACKING_H_
