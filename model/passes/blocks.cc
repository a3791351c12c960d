#include "model/passes/blocks.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "model/passes/segment.h"

namespace lowbit {
namespace {

// The network's cuts, ascending: the input first, its last layer last.
std::vector<int> Cuts(const Graph& graph) {
  const int last = graph.size() - 1;
  std::vector<int> cuts = {last};
  while (cuts.back() > 0) cuts.push_back(LastCut(graph, cuts.back(), last));
  std::reverse(cuts.begin(), cuts.end());
  return cuts;
}

std::vector<int> WeightedLayers(const Graph& graph, int first, int last) {
  std::vector<int> layers;
  for (int i = first + 1; i <= last; ++i) {
    if (HasWeight(graph.layer(i).op)) layers.push_back(i);
  }
  return layers;
}

bool IsRelu(const Graph& graph, int layer) { return std::holds_alternative<Relu>(graph.layer(layer).op); }

}  // namespace

std::string Block::Name(const Graph& graph) const {
  const std::string& begin = graph.layer(weighted.front()).name;
  return weighted.size() == 1 ? begin : absl::StrCat(begin, " to ", graph.layer(weighted.back()).name);
}

std::vector<Block> FindBlocks(const Graph& graph) {
  const std::vector<int> cuts = Cuts(graph);
  std::vector<Block> blocks;
  int first = 0;  // of the block that is being put together
  for (size_t k = 1; k < cuts.size(); ++k) {
    const int cut = cuts[k];
    std::vector<int> weighted = WeightedLayers(graph, first, cut);
    const bool joins_previous =
        weighted.empty() && !blocks.empty() && first == blocks.back().last && IsRelu(graph, cut);
    if (joins_previous) {
      blocks.back().last = cut;
    } else if (!weighted.empty()) {
      blocks.push_back({first, cut, std::move(weighted)});
    } else {
      continue;  // joins the next
    }
    first = cut;
  }
  // What has no weight at the network's end: nothing comes after it.
  if (!blocks.empty()) blocks.back().last = graph.size() - 1;
  return blocks;
}

std::vector<Block> SingleLayers(const Graph& graph) {
  std::vector<Block> blocks;
  for (int i = 0; i < graph.size(); ++i) {
    if (!HasWeight(graph.layer(i).op)) continue;
    const std::vector<int>& readers = graph.consumers(i);
    const bool has_relu = readers.size() == 1 && IsRelu(graph, readers.front());
    Block block{graph.layer(i).inputs.front(), has_relu ? readers.front() : i, {i}};
    if (graph.output_shape(block.first).size() != 3) {
      block.first = LastCut(graph, i, i);
      block.weighted.clear();
      for (const int layer : NeededLayers(graph, i)) {
        if (layer > block.first && HasWeight(graph.layer(layer).op)) block.weighted.push_back(layer);
      }
      const auto within = [&](const Block& other) {
        return std::includes(block.weighted.begin(), block.weighted.end(), other.weighted.begin(),
                             other.weighted.end());
      };
      blocks.erase(std::remove_if(blocks.begin(), blocks.end(), within), blocks.end());
    }
    blocks.push_back(std::move(block));
  }
  return blocks;
}

}  // namespace lowbit
