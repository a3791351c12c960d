#ifndef LOWBIT_TENSORBOARD_CRC32C_H_
#define LOWBIT_TENSORBOARD_CRC32C_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace lowbit {

// The cyclic redundancy check of Castagnoli's polynomial 0x1edc6f41, as iSCSI has it (RFC 3720, 12.1).
uint32_t Crc32c(absl::string_view bytes);

}  // namespace lowbit

#endif  // LOWBIT_TENSORBOARD_CRC32C_H_
