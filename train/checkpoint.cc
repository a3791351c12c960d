#include "train/checkpoint.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"

namespace lowbit {
namespace {

using Json = nlohmann::json;

constexpr char kMetadataKey[] = "lowbit.training";
constexpr char kModelPrefix[] = "model/";
constexpr char kAveragePrefix[] = "average/";
constexpr char kOptimizerPrefix[] = "optimizer/";

void AddPrefixed(const char* prefix, const ParameterMap& from, ParameterMap& to) {
  for (const auto& [name, tensor] : from) to.emplace(absl::StrCat(prefix, name), tensor);
}

Json RecordToJson(const EpochRecord& record) {
  return {{"epoch", record.epoch},
          {"learning_rate", record.learning_rate},
          {"train_loss", record.train_loss},
          {"train_top1", record.train_top1},
          {"validation_top1", record.validation_top1},
          {"validation_top3", record.validation_top3},
          {"precision", record.precision},
          {"recall", record.recall},
          {"f1", record.f1},
          {"seconds", record.seconds}};
}

bool RecordFromJson(const Json& json, EpochRecord& record) {
  const auto number = [&](const char* key, auto& into) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number()) return false;
    json[key].get_to(into);
    return true;
  };
  return number("epoch", record.epoch) && number("learning_rate", record.learning_rate) &&
         number("train_loss", record.train_loss) && number("train_top1", record.train_top1) &&
         number("validation_top1", record.validation_top1) && number("validation_top3", record.validation_top3) &&
         number("precision", record.precision) && number("recall", record.recall) && number("f1", record.f1) &&
         number("seconds", record.seconds);
}

bool StateFromJson(const Json& json, Checkpoint& checkpoint) {
  if (!json.is_object() || !json.contains("fingerprint") || !json["fingerprint"].is_string() ||
      !json.contains("history") || !json["history"].is_array()) {
    return false;
  }
  for (const char* key : {"seed", "best_epoch", "best_score", "optimizer_steps"}) {
    if (!json.contains(key) || !json[key].is_number()) return false;
  }
  json["fingerprint"].get_to(checkpoint.fingerprint);
  json["seed"].get_to(checkpoint.seed);
  json["best_epoch"].get_to(checkpoint.best_epoch);
  json["best_score"].get_to(checkpoint.best_score);
  json["optimizer_steps"].get_to(checkpoint.optimizer_steps);
  for (const Json& entry : json["history"]) {
    if (!RecordFromJson(entry, checkpoint.history.emplace_back())) return false;
  }
  return true;
}

}  // namespace

absl::Status SaveCheckpoint(const std::string& path, const Checkpoint& checkpoint) {
  ParameterMap tensors;
  AddPrefixed(kModelPrefix, checkpoint.parameters, tensors);
  AddPrefixed(kAveragePrefix, checkpoint.average, tensors);
  AddPrefixed(kOptimizerPrefix, checkpoint.optimizer, tensors);
  Json history = Json::array();
  for (const EpochRecord& record : checkpoint.history) history.push_back(RecordToJson(record));
  const Json state = {{"fingerprint", checkpoint.fingerprint}, {"seed", checkpoint.seed},
                      {"best_epoch", checkpoint.best_epoch},   {"best_score", checkpoint.best_score},
                      {"history", std::move(history)},         {"optimizer_steps", checkpoint.optimizer_steps}};
  std::string text;
  try {
    text = state.dump();
  } catch (const Json::type_error&) {  // Layers may have any name; JSON takes UTF-8 only.
    return absl::InvalidArgumentError(absl::StrCat("cannot write \"", path, "\": the fingerprint is not UTF-8"));
  }
  return SaveParameters(path, tensors, {{kMetadataKey, text}});
}

absl::StatusOr<Checkpoint> LoadCheckpoint(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(ParameterFile file, ReadParameterFile(path));
  const auto found = file.metadata.find(kMetadataKey);
  if (found == file.metadata.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a training checkpoint: its metadata has no \"", kMetadataKey, "\""));
  }
  Checkpoint checkpoint;
  if (!StateFromJson(Json::parse(found->second, nullptr, /*allow_exceptions=*/false), checkpoint)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the training state in metadata \"", kMetadataKey, "\" is damaged"));
  }
  const int epochs = static_cast<int>(checkpoint.history.size());
  if (checkpoint.best_epoch < std::min(1, epochs) || checkpoint.best_epoch > epochs) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the best epoch must be one of the ", epochs,
                                                   " that there were, got ", checkpoint.best_epoch));
  }
  for (auto& [name, tensor] : file.parameters) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, kModelPrefix)) {
      checkpoint.parameters.emplace(std::string(rest), std::move(tensor));
    } else if (absl::ConsumePrefix(&rest, kAveragePrefix)) {
      checkpoint.average.emplace(std::string(rest), std::move(tensor));
    } else if (absl::ConsumePrefix(&rest, kOptimizerPrefix)) {
      checkpoint.optimizer.emplace(std::string(rest), std::move(tensor));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": unexpected tensor \"", name, "\" in a training checkpoint"));
    }
  }
  return checkpoint;
}

std::string HistoryTable(const std::vector<EpochRecord>& history) {
  std::string table =
      "epoch\tlearning_rate\ttrain_loss\ttrain_top1\tvalidation_top1\tvalidation_"
      "top3\tprecision\trecall\tf1\tseconds\n";
  for (const EpochRecord& r : history) {
    absl::StrAppendFormat(&table, "%d\t%.6g\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t%.1f\n", r.epoch,
                          r.learning_rate, r.train_loss, r.train_top1, r.validation_top1, r.validation_top3,
                          r.precision, r.recall, r.f1, r.seconds);
  }
  return table;
}

}  // namespace lowbit
