#ifndef LOWBIT_MODEL_CUTS_H_
#define LOWBIT_MODEL_CUTS_H_

// Where a network can be cut in two, so that what comes after can be run alone, again and again, on one tensor that was
// computed once.

#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "model/parameters.h"

namespace lowbit {

// The layers whose output is all that later layers need of the network before them, ascending: of a residual network
// the input and what each block puts out. Only layers that put out [C, H, W] and are not the last. The first one is
// always 0, the input.
std::vector<int> Cuts(const Graph& graph);

// The network after layer `cut`, one of Cuts(): its first layer is an Input that takes what layer `cut` puts out and
// has that layer's name; layer i of it is layer cut + i of the whole. The numbers are shared with `model`.
absl::StatusOr<Model> AfterCut(const Model& model, int cut);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_CUTS_H_
