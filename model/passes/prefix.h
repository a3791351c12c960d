#ifndef LOWBIT_MODEL_PASSES_PREFIX_H_
#define LOWBIT_MODEL_PASSES_PREFIX_H_

#include <vector>

#include "model/graph.h"
#include "model/parameters.h"

namespace lowbit {

// The layers that it takes to compute layer `layer` of the graph, it included, ascending.
std::vector<int> NeededLayers(const Graph& graph, int layer);

// The network of those layers alone, under their names: its output is what layer `layer` puts out. Tensors are shared.
Model Prefix(const Model& model, int layer);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PASSES_PREFIX_H_
