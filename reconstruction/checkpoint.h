#ifndef LOWBIT_RECONSTRUCTION_CHECKPOINT_H_
#define LOWBIT_RECONSTRUCTION_CHECKPOINT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"
#include "reconstruction/reconstruct_config.pb.h"
#include "reconstruction/reconstruction.h"

namespace lowbit {

// Everything that the result of a reconstruction depends on, in lines, for a checkpoint to be held against. `images`
// stands for the calibration images: a digest of them.
std::string ReconstructionFingerprint(const Model& float_model, const QuantizedModel& start,
                                      const ReconstructConfig& config, uint64_t seed, uint64_t images);

// How far a reconstruction is, as a packed model with the rest in its metadata. Replaces the file as a whole.
absl::Status SaveReconstruction(const std::string& path, const ReconstructionState& state,
                                const std::string& fingerprint);

// InvalidArgument, naming the file, for one that is none; FailedPrecondition, with the first line that differs, for one
// that another reconstruction made.
absl::StatusOr<ReconstructionState> LoadReconstruction(const std::string& path, const std::string& fingerprint);

}  // namespace lowbit

#endif  // LOWBIT_RECONSTRUCTION_CHECKPOINT_H_
