#include "train/resume.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/explicit_defaults.h"
#include "base/first_difference.h"
#include "base/status_macros.h"
#include "google/protobuf/text_format.h"
#include "model/graph_proto.h"
#include "train/train_defaults.h"

namespace lowbit {
namespace {

std::string Text(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

std::string ConfigText(TrainConfig config) {
  SpellOutTrainDefaults(&config);
  SetDefaultsExplicitly(config);
  // Which of several GPUs it was makes no difference. Of a CPU nothing is said, as before there was a choice: what was
  // begun then can be gone on with.
  if (absl::StartsWith(config.device(), "cuda")) config.set_device("cuda");
  if (absl::StartsWith(config.device(), "cpu")) config.clear_device();
  if (!config.bfloat16()) config.clear_bfloat16();
  return Text(config);
}

}  // namespace

std::string CheckpointPath(const std::string& directory) { return absl::StrCat(directory, "/checkpoint.safetensors"); }

std::string BestPath(const std::string& directory) { return absl::StrCat(directory, "/best.safetensors"); }

bool HasCheckpoint(const std::string& directory) {
  std::error_code error;
  return std::filesystem::exists(CheckpointPath(directory), error);
}

std::string Fingerprint(const TrainRequest& request) {
  return absl::StrCat(ConfigText(request.config), "threads: ", at::get_num_threads(),
                      "\nimages: ", request.dataset->size(), "\nmean: ", absl::StrJoin(request.normalization.mean, " "),
                      "\nstd: ", absl::StrJoin(request.normalization.std, " "),
                      "\nstarting weights: ", absl::Hex(DigestParameters(request.initial), absl::kZeroPad16), "\n",
                      Text(GraphToProto(*request.graph)));
}

absl::StatusOr<Checkpoint> LoadOwnCheckpoint(const TrainRequest& request) {
  const std::string path = CheckpointPath(request.directory);
  LOWBIT_ASSIGN_OR_RETURN(Checkpoint loaded, LoadCheckpoint(path));
  absl::Status fits = CheckParameters(*request.graph, loaded.parameters);
  if (fits.ok() && request.config.ema_decay() > 0) fits = CheckParameters(*request.graph, loaded.average);
  if (!fits.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a checkpoint of this network: ", fits.message()));
  }
  const std::string there = absl::StrCat("seed: ", loaded.seed, "\n", loaded.fingerprint);
  const std::string here = absl::StrCat("seed: ", request.seed, "\n", Fingerprint(request));
  if (there != here) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": made by another training, so going on would not be exact: ", FirstDifference(there, here)));
  }
  if (static_cast<int>(loaded.history.size()) > request.config.epochs()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": holds ", loaded.history.size(), " epochs of a training of ", request.config.epochs()));
  }
  if (loaded.best_epoch > 0)
    LOWBIT_RETURN_IF_ERROR(LoadParameters(BestPath(request.directory), *request.graph).status());
  return loaded;
}

}  // namespace lowbit
