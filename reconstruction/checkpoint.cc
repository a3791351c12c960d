#include "reconstruction/checkpoint.h"

#include <ATen/Parallel.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/explicit_defaults.h"
#include "base/first_difference.h"
#include "base/fnv1a.h"
#include "base/status_macros.h"
#include "google/protobuf/text_format.h"
#include "nlohmann/json.hpp"

namespace lowbit {
namespace {

constexpr char kFingerprint[] = "lowbit.reconstruction.fingerprint";
constexpr char kBlocks[] = "lowbit.reconstruction.blocks";

nlohmann::json ToJson(const BlockReport& block) {
  return {{"name", block.name},           {"start_error", block.start_error}, {"end_error", block.end_error},
          {"steps", block.steps},         {"seconds", block.seconds},         {"roundings", block.roundings},
          {"undecided", block.undecided}, {"flipped", block.flipped},         {"fallback", block.fallback},
          {"losses", block.losses}};
}

BlockReport FromJson(const nlohmann::json& json) {
  BlockReport block;
  json.at("name").get_to(block.name);
  json.at("start_error").get_to(block.start_error);
  json.at("end_error").get_to(block.end_error);
  json.at("steps").get_to(block.steps);
  json.at("seconds").get_to(block.seconds);
  json.at("roundings").get_to(block.roundings);
  json.at("undecided").get_to(block.undecided);
  json.at("flipped").get_to(block.flipped);
  json.at("fallback").get_to(block.fallback);
  json.at("losses").get_to(block.losses);
  return block;
}

}  // namespace

std::string ReconstructionFingerprint(const Model& float_model, const QuantizedModel& start,
                                      const ReconstructConfig& config, uint64_t seed, uint64_t images) {
  ReconstructConfig full = config;
  full.clear_memory_mib();  // the result is the same
  SetDefaultsExplicitly(full);
  std::string text;
  google::protobuf::TextFormat::PrintToString(full, &text);
  const absl::StatusOr<std::string> bytes = SerializeQuantizedModel(start);
  return absl::StrCat(text, "seed: ", seed, "\nthreads: ", at::get_num_threads(),
                      "\nimages: ", absl::Hex(images, absl::kZeroPad16),
                      "\nfloat network: ", absl::Hex(DigestParameters(float_model.parameters), absl::kZeroPad16),
                      "\nquantized network: ",
                      bytes.ok() ? absl::StrCat(absl::Hex(Fnv1a(kFnv1aStart, *bytes), absl::kZeroPad16))
                                 : std::string(bytes.status().message()));
}

absl::Status SaveReconstruction(const std::string& path, const ReconstructionState& state,
                                const std::string& fingerprint) {
  nlohmann::json blocks = nlohmann::json::array();
  for (const BlockReport& block : state.blocks) blocks.push_back(ToJson(block));
  QuantizedModel model = state.model;
  model.metadata[kFingerprint] = fingerprint;
  model.metadata[kBlocks] = blocks.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return SaveQuantizedModel(path, model);
}

absl::StatusOr<ReconstructionState> LoadReconstruction(const std::string& path, const std::string& fingerprint) {
  LOWBIT_ASSIGN_OR_RETURN(QuantizedModel model, LoadQuantizedModel(path));
  const auto there = model.metadata.find(kFingerprint);
  const auto blocks = model.metadata.find(kBlocks);
  if (there == model.metadata.end() || blocks == model.metadata.end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is no checkpoint of a reconstruction"));
  }
  if (there->second != fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": made by another reconstruction, so going on would not be exact: ",
                     FirstDifference(there->second, fingerprint)));
  }
  ReconstructionState state{std::move(model), {}};
  try {
    for (const nlohmann::json& block : nlohmann::json::parse(blocks->second)) state.blocks.push_back(FromJson(block));
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", kBlocks, ": ", error.what()));
  }
  state.model.metadata.erase(kFingerprint);
  state.model.metadata.erase(kBlocks);
  return state;
}

}  // namespace lowbit
