#ifndef LOWBIT_TENSORBOARD_RECORD_H_
#define LOWBIT_TENSORBOARD_RECORD_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lowbit {

// TensorFlow's framing of records in a file. A record is, with numbers in little endian,
//   uint64  size of the data
//   uint32  masked CRC-32C of those eight bytes
//   data
//   uint32  masked CRC-32C of the data
// where masking turns the check right by 15 bits and adds 0xa282ead8, so that a check of data that hold checks
// does not come out as a constant.
std::string FrameRecord(absl::string_view data);

// The data of all records of a file. DataLoss, saying at which byte, if it ends inside of a record or a check is wrong.
absl::StatusOr<std::vector<std::string>> ParseRecords(absl::string_view bytes);

}  // namespace lowbit

#endif  // LOWBIT_TENSORBOARD_RECORD_H_
