#ifndef LOWBIT_MODEL_PASSES_WEIGHT_PAIRS_H_
#define LOWBIT_MODEL_PASSES_WEIGHT_PAIRS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/graph.h"

namespace lowbit {

// Two layers with weights such that a positive factor on an output channel of the first arrives as the same factor on
// input channels of the second, and nowhere else.
struct WeightPair {
  int first = 0;  // Indices of the two layers.
  int second = 0;
  // For each input channel (feature) of the second the output channel (feature) of the first that it comes from; -1 for
  // those that are always 0 (PadChannels).
  std::vector<int64_t> source;
  bool through_relu = false;  // Whether a Relu stands between.
};

struct WeightPairs {
  std::vector<WeightPair> pairs;      // In the graph's order of their first layers.
  std::vector<std::string> unpaired;  // "layer1.0.conv2: why", for each other layer with a weight but the last one.
};

// Follows the output of each layer with a weight for as long as it has a single reader and that is a Relu, a pool, a
// Subsample, a PadChannels or a Flatten (which all commute with a positive factor on a channel), up to a convolution or
// linear layer. A sum, a batch norm, a second reader and the end of the graph end the search.
WeightPairs FindWeightPairs(const Graph& graph);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PASSES_WEIGHT_PAIRS_H_
