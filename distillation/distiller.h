#ifndef LOWBIT_DISTILLATION_DISTILLER_H_
#define LOWBIT_DISTILLATION_DISTILLER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/normalize.h"
#include "distillation/distill_config.pb.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"

namespace lowbit {

// What one epoch came to. KL divergences are means over the images, in nats, of the quantized network's answers from
// the float network's.
struct DistillEpoch {
  int epoch = 0;           // from 1; 0: the start
  double train_loss = 0;   // while learning; with the config's temperature, and the features' part
  double held_out_kl = 0;  // T^2 KL, as learned from: with the temperature T, and mixed, if they are. 0: none held out
  double held_out_same = 0;  // of the held-out images, the part whose top-1 is the float network's. 0 if there is none
  double seconds = 0;
};

struct DistillRequest {
  const Model* float_model;     // folded
  const QuantizedModel* start;  // made from it
  const Dataset* dataset;       // the training images
  Normalization normalization;
  std::vector<int64_t> learn, hold_out;  // images, none in both; hold_out may be empty
  DistillConfig config;                  // spelled out
  uint64_t seed = 0;
  // Where "distillation.safetensors", the checkpoint of the last finished epoch, goes. The folder must exist. `name`
  // stands for "distillation".
  std::string directory;
  std::string name = "distillation";
  bool resume = false;  // go on from the checkpoint
  std::function<absl::Status(const DistillEpoch&)> on_epoch;
};

struct DistillResult {
  QuantizedModel model;
  int epoch = 0;                      // that it is of: the last; or 0, the start
  std::vector<DistillEpoch> history;  // the start, and each epoch
};

// Tunes the float weights behind the quantized ones, all scales (LSQ, arXiv 1902.08153) and biases by Adam, with the KL
// divergence of the network's answers from the float network's as the loss. The last epoch counts, or the
// start, if the last is no closer on the held-out images. Errors: of the data and the disk; Cancelled on an
// interrupt, after which the last finished epoch can be gone on from to the same result; FailedPrecondition if the loss
// becomes infinite or NaN, or if a checkpoint is of another distillation.
absl::StatusOr<DistillResult> Distill(const DistillRequest& request);

// Whether there is a checkpoint to go on from.
bool HasDistillCheckpoint(const std::string& directory, const std::string& name);

// Sets the fields that depend on others and are not set.
void SpellOutDistillDefaults(DistillConfig* config);

// FieldError for the first field out of range. Of a config that is spelled out.
absl::Status CheckDistillConfig(const DistillConfig& config);

}  // namespace lowbit

#endif  // LOWBIT_DISTILLATION_DISTILLER_H_
