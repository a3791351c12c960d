#include "train/resume.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/explicit_defaults.h"
#include "base/fnv1a.h"
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

// FNV-1a over all numbers, in the order of their names.
uint64_t Digest(const ParameterMap& parameters) {
  uint64_t digest = kFnv1aStart;
  for (const auto& [name, tensor] : parameters) {
    const at::Tensor dense = tensor.contiguous();
    const float* const values = dense.data_ptr<float>();
    for (int64_t i = 0; i < dense.numel(); ++i) {
      uint32_t bits;
      std::memcpy(&bits, values + i, sizeof(bits));
      digest = Fnv1a(digest, bits);
    }
  }
  return digest;
}

// `"epochs: 3" there, "epochs: 4" here`, of the first line that differs.
std::string FirstDifference(const std::string& there, const std::string& here) {
  const std::vector<std::string> a = absl::StrSplit(there, '\n'), b = absl::StrSplit(here, '\n');
  size_t i = 0;
  while (i + 1 < std::min(a.size(), b.size()) && a[i] == b[i]) ++i;
  return absl::StrCat("\"", a[i], "\" there, \"", b[i], "\" here");
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
                      "\nstarting weights: ", absl::Hex(Digest(request.initial), absl::kZeroPad16), "\n",
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
