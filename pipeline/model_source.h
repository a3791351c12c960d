#ifndef LOWBIT_PIPELINE_MODEL_SOURCE_H_
#define LOWBIT_PIPELINE_MODEL_SOURCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parameters.h"
#include "pipeline/config.pb.h"
#include "quant/quantized_model.h"

namespace lowbit {

class TorchInt8Model;

// What a run starts from.
struct LoadedModel {
  // For a packed model the values that its codes stand for. For LibTorch's 8-bit model a graph without parameters.
  Model model;
  std::shared_ptr<const QuantizedModel> quantized;   // Null: it is no packed model.
  std::shared_ptr<const TorchInt8Model> torch_int8;  // Null: it is none of LibTorch's.
  bool has_weights = false;                          // Else they are random, to be trained.
};

// What stands in for a file that a config does not name.
struct NewestModel {
  std::string path;   // empty: the config names what it wants
  std::string field;  // of ModelConfig, that this should have been in
};

// For an (effective) config that wants the newest file of some kind in its output_dir, which one without a model does
// too: the packed one. Weights are those that fit the architecture. NotFound if no run has left any, InvalidArgument if
// it also names a file; with the field.
absl::StatusOr<NewestModel> FindNewest(const PipelineConfig& config);

// Builds the network and reads its file, relative to the user's folder. Errors name the field of ModelConfig.
absl::StatusOr<LoadedModel> LoadModel(const ModelConfig& config, uint64_t seed);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_MODEL_SOURCE_H_
