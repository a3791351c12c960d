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

// What a run starts from.
struct LoadedModel {
  Model model;                                      // For a packed model: the values that its codes stand for.
  std::shared_ptr<const QuantizedModel> quantized;  // Null: a float model.
  bool has_weights = false;                         // Else they are random, to be trained.
};

// For an (effective) config that names no model: the newest packed model of its output_dir. Empty if it does name one;
// NotFound with field "model" if there is nothing to be found.
absl::StatusOr<std::string> NewestModelIfUnnamed(const PipelineConfig& config);

// Builds the network and reads its file, relative to the user's folder. Errors name the field of ModelConfig.
absl::StatusOr<LoadedModel> LoadModel(const ModelConfig& config, uint64_t seed);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_MODEL_SOURCE_H_
