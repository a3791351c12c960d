#ifndef LOWBIT_MODEL_PASSES_BLOCKS_H_
#define LOWBIT_MODEL_PASSES_BLOCKS_H_

#include <string>
#include <vector>

#include "model/graph.h"

namespace lowbit {

// A part of a network that is reconstructed, or compared, as a whole: what it takes to compute layer `last` from what
// layer `first` puts out.
struct Block {
  int first = 0;
  int last = 0;
  std::vector<int> weighted;  // its layers with a weight, ascending; at least one

  // "layer1.0.conv1 to layer1.0.relu2", or "conv1" alone: its layers with a weight, for people.
  std::string Name(const Graph& graph) const;
};

// The blocks of a network, front to back, found from the graph alone. Its cuts, the tensors that everything goes
// through (model/passes/segment.h), divide it into pieces: in a residual network a piece with more than one layer that
// has a weight is a residual block, and everywhere else a piece has one such layer. A relu belongs to what is before
// it, other layers without a weight to what comes after them. Each layer that has a weight is in one block, and each
// block begins where the one before it ended.
std::vector<Block> FindBlocks(const Graph& graph);

// Every layer with a weight by itself, with the relu after it if that alone reads it. `first` is what it reads; where
// that is no image, [C, H, W], the last image that it was made from, and layers with a weight between the two are in
// the same block (in several, if layers of several blocks read them).
std::vector<Block> SingleLayers(const Graph& graph);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PASSES_BLOCKS_H_
