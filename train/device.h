#ifndef LOWBIT_TRAIN_DEVICE_H_
#define LOWBIT_TRAIN_DEVICE_H_

#include <c10/core/Device.h>

#include <string>

#include "absl/status/statusor.h"

namespace lowbit {

// "cpu", "cuda" (the first GPU) or "cuda:<number>". FieldError, at "device", for any other name, and for a GPU that
// this LibTorch or this machine does not have.
absl::StatusOr<c10::Device> ParseDevice(const std::string& name);

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_DEVICE_H_
