#ifndef LOWBIT_RECONSTRUCTION_BLOCK_RECONSTRUCTION_H_
#define LOWBIT_RECONSTRUCTION_BLOCK_RECONSTRUCTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"
#include "reconstruction/reconstruct_config.pb.h"

namespace lowbit {

// What a block of a network is reconstructed from. Tensors hold all images, [N, C, H, W] or [N, F], float32, dense with
// one piece of memory for each image.
struct BlockTask {
  std::string name;      // for people
  Model float_part;      // the block in float, as a network of its own (model/passes/segment.h)
  QuantizedModel start;  // the same layers as they are quantized so far (PartOfQuantizedModel)
  at::Tensor float_in;   // what comes in, in the float network
  at::Tensor quantized_in;
  at::Tensor target;  // what the block puts out in the float network
  // For prediction_difference: the rest of the float network after the block, not there if it is the last one; and the
  // float network's logits, [N, classes].
  std::optional<Model> rest;
  at::Tensor logits;
  uint64_t seed = 0;  // of this block's random choices
};

struct BlockProgress {
  int64_t step = 0;  // of all steps
  double loss = 0;   // of late, a running mean
};

// Points of a block's curve of losses; fewer where there are fewer steps.
constexpr int64_t kCurvePoints = 50;

// What became of a block.
struct BlockReport {
  std::string name;
  // Squared error of a place, summed over its channels, mean over places and images, everything quantized (with
  // prediction_difference: plus that part of the loss); at the start and at the end.
  double start_error = 0;
  double end_error = 0;
  int64_t steps = 0;  // that were taken
  double seconds = 0;
  int64_t roundings = 0;       // that were learned and taken over; 0 where the start was kept
  int64_t undecided = 0;       // of them, before they were rounded
  int64_t flipped = 0;         // codes that are not what they were at the start
  std::vector<double> losses;  // means over kCurvePoints equal parts of the steps, fewer if it ended early
  // Why the start was kept: empty, "the loss became nan at step 17", ...
  std::string fallback;
};

struct BlockResult {
  QuantizedModel model;  // task.start with what was learned
  BlockReport report;
};

// Learns the weights' roundings and whatever else the config says, so that the block, with what comes in from the
// quantized network, puts out what it does in float. Of the result and the start the better one is returned. `config`
// is spelled out. Calls on_step after each step, which may end it with an error. InvalidArgument where the start's
// error is NaN or infinite.
//
// The same task gives the same result on one machine with the same number of threads.
absl::StatusOr<BlockResult> ReconstructBlock(const BlockTask& task, const ReconstructConfig& config,
                                             const std::function<absl::Status(const BlockProgress&)>& on_step);

}  // namespace lowbit

#endif  // LOWBIT_RECONSTRUCTION_BLOCK_RECONSTRUCTION_H_
