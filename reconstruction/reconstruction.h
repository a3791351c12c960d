#ifndef LOWBIT_RECONSTRUCTION_RECONSTRUCTION_H_
#define LOWBIT_RECONSTRUCTION_RECONSTRUCTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "model/passes/blocks.h"
#include "quant/activation_cache.h"
#include "quant/quantized_model.h"
#include "reconstruction/block_reconstruction.h"
#include "reconstruction/reconstruct_config.pb.h"

namespace lowbit {

// How far a reconstruction is.
struct ReconstructionState {
  QuantizedModel model;
  std::vector<BlockReport> blocks;  // those that are done, from the front
};

struct ReconstructionCallbacks {
  // After each step of block number `block`. May end it with an error.
  std::function<absl::Status(size_t block, const BlockProgress& progress)> on_step;
  // After each block, with it in the state. What it saves can be gone on with.
  std::function<absl::Status(const ReconstructionState& state)> on_block;
};

// The blocks that it goes through.
std::vector<Block> BlocksToReconstruct(const Graph& graph, const ReconstructConfig& config);

// Goes through the blocks from the front, and reconstructs each behind the quantized ones before it
// (block_reconstruction.h). `state` is where it begins: a quantized model made from `float_model`, and perhaps blocks
// that are done already; a run that was stopped after some block goes on to the same result. `batches`: normalised
// images, [N, C, H, W] each. `config` is spelled out.
//
// In `cache` at once: what one block reads in both networks and what it puts out, and the like of the place where the
// images are held, five tensors of all images at the most. Beside them memory has the images, and what a few steps
// take.
absl::StatusOr<ReconstructionState> Reconstruct(const Model& float_model, ReconstructionState state,
                                                const std::vector<at::Tensor>& batches, const ReconstructConfig& config,
                                                uint64_t seed, ActivationCache& cache,
                                                const ReconstructionCallbacks& callbacks);

}  // namespace lowbit

#endif  // LOWBIT_RECONSTRUCTION_RECONSTRUCTION_H_
