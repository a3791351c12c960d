#ifndef LOWBIT_PIPELINE_PATHS_H_
#define LOWBIT_PIPELINE_PATHS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lowbit {

std::string JoinPath(absl::string_view folder, absl::string_view path);

// As a file's or folder's name, with whatever is unusual in one replaced by "_": all but letters, digits and "=.-+".
std::string SafeFileName(absl::string_view text);

// The folder with the CIFAR-10 files that the build fetched for this program (or test), in its runfiles. Empty where
// it has none.
std::string FetchedCifar10();

// The file that was written last in the runs' folders in `output_dir`, or in the folders that a sweep's values have in
// those: a packed model (model*.safetensors), a model in LibTorch's 8-bit operators (int8.pt). Empty if there is none.
std::string NewestPackedModel(const std::string& output_dir);
std::string NewestTorchInt8Model(const std::string& output_dir);

// All files there that may be float weights of train and save steps: safetensors files that are neither packed models
// nor checkpoints.
std::vector<std::string> WeightsNewestFirst(const std::string& output_dir);

// The run of this name (a folder <name>-<time> of `output_dir`) whose checkpoint (of a train, reconstruct or distill
// step) was written last. Empty if there is none.
std::string NewestCheckpoint(const std::string& output_dir, absl::string_view name);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_PATHS_H_
