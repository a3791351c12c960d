#ifndef LOWBIT_TRAIN_CHECKPOINT_H_
#define LOWBIT_TRAIN_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parameters.h"

namespace lowbit {

// What one epoch came to. The validation figures are fractions in [0, 1] over the held-out training images.
struct EpochRecord {
  int epoch = 0;             // from 1
  double learning_rate = 0;  // of the epoch's last step
  double train_loss = 0;
  double train_top1 = 0;
  double validation_top1 = 0;
  double validation_top3 = 0;
  double precision = 0;  // macro
  double recall = 0;     // macro
  double f1 = 0;         // macro
  double seconds = 0;
};

// Everything that a resumed run needs to go on as if it had never stopped: all random choices are functions of the seed
// and the epoch.
struct Checkpoint {
  std::string fingerprint;  // see resume.h; a resume must agree with it
  uint64_t seed = 0;
  int best_epoch = 0;
  double best_score = -1;
  std::vector<EpochRecord> history;  // one per finished epoch
  ParameterMap parameters;
  ParameterMap average;  // empty without EMA
  ParameterMap optimizer;
  int64_t optimizer_steps = 0;
};

// One safetensors file, replaced as a whole: tensors under "model/", "average/" and "optimizer/", the rest as JSON in
// the metadata.
absl::Status SaveCheckpoint(const std::string& path, const Checkpoint& checkpoint);
absl::StatusOr<Checkpoint> LoadCheckpoint(const std::string& path);

// A table with a header line, tab separated, one line an epoch.
std::string HistoryTable(const std::vector<EpochRecord>& history);

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_CHECKPOINT_H_
