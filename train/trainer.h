#ifndef LOWBIT_TRAIN_TRAINER_H_
#define LOWBIT_TRAIN_TRAINER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "model/graph.h"
#include "model/parameters.h"
#include "train/checkpoint.h"
#include "train/train_config.pb.h"

namespace lowbit {

// FieldError naming the first value that is out of range. `dataset` is what it would train on: validation_images must
// leave enough of it, the augmentation must fit its images.
absl::Status CheckTrainConfig(const TrainConfig& config, const Dataset& dataset);

struct TrainRequest {
  const Graph* graph = nullptr;
  ParameterMap initial;              // names and shapes of `graph`
  const Dataset* dataset = nullptr;  // the training split
  Normalization normalization;
  TrainConfig config;
  uint64_t seed = 0;
  // Holds checkpoint.safetensors (all state, each epoch), best.safetensors (the weights of the best epoch) and
  // history.tsv.
  std::string directory;
  bool resume = false;  // go on from the directory's checkpoint instead of `initial`
  // Called after each epoch's checkpoint was written, with the parameters that were validated (the averaged ones where
  // EMA is on; only to be read; they are on the device that trains). An error ends the training.
  std::function<absl::Status(const EpochRecord& record, const ParameterMap& parameters)> on_epoch;
};

struct TrainResult {
  ParameterMap parameters;  // of the best epoch, on the CPU; the averaged ones where EMA is on
  int best_epoch = 0;       // from 1
  std::vector<EpochRecord> history;
};

// Whether a training has left a checkpoint in `directory`.
bool HasCheckpoint(const std::string& directory);

// Whether `request` could go on from the checkpoint in its directory: InvalidArgument for a file
// that is none or belongs to another network, FailedPrecondition for one of another training (both are described).
absl::Status CheckResume(const TrainRequest& request);

// Trains with cross entropy. Every epoch ends with a validation on the held-out images and an atomic checkpoint; a run
// killed at any moment and resumed ends with the very weights of one that was not, given the same number of threads.
// Cancelled when interrupted: the last epoch's checkpoint stands.
absl::StatusOr<TrainResult> Train(const TrainRequest& request);

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_TRAINER_H_
