#ifndef LOWBIT_TRAIN_RESUME_H_
#define LOWBIT_TRAIN_RESUME_H_

#include <string>

#include "absl/status/statusor.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

namespace lowbit {

// Where a training keeps its state, and the weights of its best epoch.
std::string CheckpointPath(const std::string& directory);
std::string BestPath(const std::string& directory);

// All that decides which weights a training ends with, besides the seed, the pixels and the kind of processor, in text:
// the config, the number of threads (how sums are split changes their rounding), the number of images and their
// normalisation, the weights that it starts from, the network. One fact a line.
std::string Fingerprint(const TrainRequest& request);

// The checkpoint that `request` goes on from. InvalidArgument for a file that is none or is one of another network, and
// if the best epoch's weights are not beside it; FailedPrecondition, with the first fact that differs, for one of
// another training.
absl::StatusOr<Checkpoint> LoadOwnCheckpoint(const TrainRequest& request);

}  // namespace lowbit

#endif  // LOWBIT_TRAIN_RESUME_H_
