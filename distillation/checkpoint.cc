#include "distillation/checkpoint.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/first_difference.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"

namespace lowbit {
namespace {

using Json = nlohmann::json;

constexpr char kMetadataKey[] = "lowbit.distillation";
constexpr char kLearnedPrefix[] = "learned/";
constexpr char kOptimizerPrefix[] = "optimizer/";

Json ToJson(const DistillEpoch& epoch) {
  return {{"epoch", epoch.epoch},
          {"train_loss", epoch.train_loss},
          {"held_out_kl", epoch.held_out_kl},
          {"held_out_same", epoch.held_out_same},
          {"seconds", epoch.seconds}};
}

DistillEpoch FromJson(const Json& json) {
  DistillEpoch epoch;
  json.at("epoch").get_to(epoch.epoch);
  json.at("train_loss").get_to(epoch.train_loss);
  json.at("held_out_kl").get_to(epoch.held_out_kl);
  json.at("held_out_same").get_to(epoch.held_out_same);
  json.at("seconds").get_to(epoch.seconds);
  return epoch;
}

}  // namespace

absl::Status SaveDistillCheckpoint(const std::string& path, const DistillCheckpoint& checkpoint) {
  ParameterMap tensors;
  for (const auto& [name, tensor] : checkpoint.learned) tensors[absl::StrCat(kLearnedPrefix, name)] = tensor;
  for (const auto& [name, tensor] : checkpoint.optimizer) tensors[absl::StrCat(kOptimizerPrefix, name)] = tensor;
  Json history = Json::array();
  for (const DistillEpoch& epoch : checkpoint.history) history.push_back(ToJson(epoch));
  const Json state = {
      {"fingerprint", checkpoint.fingerprint}, {"optimizer_steps", checkpoint.optimizer_steps}, {"history", history}};
  return SaveParameters(path, tensors, {{kMetadataKey, state.dump()}});
}

absl::StatusOr<DistillCheckpoint> LoadDistillCheckpoint(const std::string& path, const std::string& fingerprint) {
  LOWBIT_ASSIGN_OR_RETURN(ParameterFile file, ReadParameterFile(path));
  const auto found = file.metadata.find(kMetadataKey);
  if (found == file.metadata.end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is no checkpoint of a distillation"));
  }
  DistillCheckpoint checkpoint;
  try {
    const Json state = Json::parse(found->second);
    state.at("fingerprint").get_to(checkpoint.fingerprint);
    state.at("optimizer_steps").get_to(checkpoint.optimizer_steps);
    for (const Json& epoch : state.at("history")) checkpoint.history.push_back(FromJson(epoch));
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", kMetadataKey, ": ", error.what()));
  }
  if (checkpoint.fingerprint != fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": made by another distillation, so going on would not be exact: ",
                     FirstDifference(checkpoint.fingerprint, fingerprint)));
  }
  for (auto& [name, tensor] : file.parameters) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, kLearnedPrefix)) {
      checkpoint.learned[std::string(rest)] = std::move(tensor);
    } else if (absl::ConsumePrefix(&rest, kOptimizerPrefix)) {
      checkpoint.optimizer[std::string(rest)] = std::move(tensor);
    }
  }
  return checkpoint;
}

}  // namespace lowbit
