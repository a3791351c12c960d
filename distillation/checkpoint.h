#ifndef LOWBIT_DISTILLATION_CHECKPOINT_H_
#define LOWBIT_DISTILLATION_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "distillation/distiller.h"
#include "model/parameters.h"

namespace lowbit {

// What a distillation needs to go on after an epoch as if it had never stopped.
struct DistillCheckpoint {
  std::string fingerprint;  // everything that the result depends on, in lines
  std::vector<DistillEpoch> history;
  ParameterMap learned;    // what optimizers move
  ParameterMap optimizer;  // their slots
  int64_t optimizer_steps = 0;
};

// One safetensors file, replaced as a whole: tensors under "learned/" and "optimizer/", the rest as JSON in the
// metadata.
absl::Status SaveDistillCheckpoint(const std::string& path, const DistillCheckpoint& checkpoint);

// InvalidArgument, naming the file, for one that is none; FailedPrecondition, with the first line that differs, for one
// that another distillation made.
absl::StatusOr<DistillCheckpoint> LoadDistillCheckpoint(const std::string& path, const std::string& fingerprint);

}  // namespace lowbit

#endif  // LOWBIT_DISTILLATION_CHECKPOINT_H_
