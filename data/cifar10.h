#ifndef LOWBIT_DATA_CIFAR10_H_
#define LOWBIT_DATA_CIFAR10_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"

namespace lowbit {

// CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) in its binary form: `dir` holds
// data_batch_1.bin .. data_batch_5.bin (50,000 training images) and test_batch.bin (10,000), 10,000 records each:
//
//   byte 0           label, 0..9
//   bytes 1..1024    red, row by row (32 x 32)
//   bytes 1025..2048 green
//   bytes 2049..3072 blue
//
// Training image i is record i % 10000 of data_batch_<i / 10000 + 1>.bin. The whole split is read into memory (154 MB
// for training) and checked. NotFound for a missing folder or file, InvalidArgument for a file that is too short, too
// long, or holds a label above 9; the message names the file, what was found and what was wanted.
absl::StatusOr<std::unique_ptr<Dataset>> OpenCifar10(const std::string& dir, Split split);

// One file of such records, of which there may be any number but none at all.
absl::StatusOr<std::unique_ptr<Dataset>> OpenCifar10File(const std::string& path);

// "airplane", ...: of the labels 0 to 9.
std::vector<std::string> Cifar10ClassNames();

}  // namespace lowbit

#endif  // LOWBIT_DATA_CIFAR10_H_
