#ifndef LOWBIT_MODEL_PASSES_SEGMENT_H_
#define LOWBIT_MODEL_PASSES_SEGMENT_H_

#include <vector>

#include "model/graph.h"
#include "model/parameters.h"

namespace lowbit {

// The layers that it takes to compute layer `layer` of the graph, it included, ascending.
std::vector<int> NeededLayers(const Graph& graph, int layer);

// The last layer before `layer` through which everything goes that it takes to compute layer `last`, and whose output
// is an image, [C, H, W]: a network can be stopped there, and gone on with from that one tensor alone. At the worst the
// input. Of a ResNet these are the stem and the blocks' outputs. 0 < layer <= last.
int LastCut(const Graph& graph, int layer, int last);

// The network from layer `first` to layer `last` alone: what layer `first` puts out are its images, and what layer
// `last` puts out is its output. Layers keep their names, the first one's name being the input's. Tensors are shared.
// `first` must be such a cut.
Model Segment(const Model& model, int first, int last);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PASSES_SEGMENT_H_
