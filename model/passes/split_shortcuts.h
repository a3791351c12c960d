#ifndef LOWBIT_MODEL_PASSES_SPLIT_SHORTCUTS_H_
#define LOWBIT_MODEL_PASSES_SPLIT_SHORTCUTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/parameters.h"

namespace lowbit {

struct SplitResult {
  Model model;
  std::vector<std::string> split;  // the layers whose output was split, in the graph's order
};

// Gives the weights their own copy of each tensor that a shortcut takes to an addition, too: a layer "<name>.branch"
// that changes no number, between the layer <name> and those with a weight that read it. Activations of the copy can
// then be quantized while the shortcut keeps the float, as binary networks have it (Bi-Real Net, Liu et al. 2018, arXiv
// 1808.00278) and quantization-aware training does (LSQ, Esser et al. 2020, arXiv 1902.08153: each convolution
// quantizes its own input). A shortcut leads to an Add, directly or through Subsample, PadChannels and pooling. What it
// begins with is a Relu's output or of shape [C, H, W]; other vectors are left alone. Tensors are shared.
// InvalidArgument if a copy's name is taken.
absl::StatusOr<SplitResult> SplitShortcuts(const Model& model);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PASSES_SPLIT_SHORTCUTS_H_
