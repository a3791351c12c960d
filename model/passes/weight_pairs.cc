#include "model/passes/weight_pairs.h"

#include <numeric>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

namespace lowbit {
namespace {

// Where the channels of a tensor come from after one more layer, which reads it.
struct Map {
  const Shape& input;  // of the layer
  std::vector<int64_t> source;

  std::vector<int64_t> operator()(const PadChannels& op) const {
    std::vector<int64_t> padded(static_cast<size_t>(op.before), -1);
    padded.insert(padded.end(), source.begin(), source.end());
    padded.resize(padded.size() + static_cast<size_t>(op.after), -1);
    return padded;
  }

  // [C, H, W] -> [C * H * W]: a channel becomes H * W features in a row.
  std::vector<int64_t> operator()(const Flatten&) const {
    const int64_t pixels = input.size() == 3 ? input[1] * input[2] : 1;
    std::vector<int64_t> features;
    for (const int64_t channel : source) features.insert(features.end(), static_cast<size_t>(pixels), channel);
    return features;
  }

  template <typename Other>
  std::vector<int64_t> operator()(const Other&) const {
    return source;
  }
};

bool CommutesWithScale(const Op& op) {
  return std::holds_alternative<Relu>(op) || std::holds_alternative<GlobalAvgPool>(op) ||
         std::holds_alternative<AvgPool>(op) || std::holds_alternative<MaxPool>(op) ||
         std::holds_alternative<Subsample>(op) || std::holds_alternative<PadChannels>(op) ||
         std::holds_alternative<Flatten>(op);
}

// Follows the output of layer pair->first. Returns what is in the way, or nothing if there is a pair.
std::string Follow(const Graph& graph, WeightPair* pair) {
  int current = pair->first;
  pair->source.resize(static_cast<size_t>(graph.output_shape(current)[0]));
  std::iota(pair->source.begin(), pair->source.end(), int64_t{0});
  while (true) {
    const std::vector<int>& readers = graph.consumers(current);
    const std::string& name = graph.layer(current).name;
    if (readers.empty()) return absl::StrCat("\"", name, "\" is the network's output");
    if (readers.size() > 1) return absl::StrCat("\"", name, "\" is read ", readers.size(), " times");
    const int reader = readers[0];
    const Op& op = graph.layer(reader).op;
    if (HasWeight(op)) {
      pair->second = reader;
      return "";
    }
    if (!CommutesWithScale(op)) {
      return absl::StrCat("its output goes into \"", graph.layer(reader).name, "\" (", OpName(op), ")");
    }
    pair->through_relu = pair->through_relu || std::holds_alternative<Relu>(op);
    pair->source = std::visit(Map{graph.output_shape(current), std::move(pair->source)}, op);
    current = reader;
  }
}

}  // namespace

WeightPairs FindWeightPairs(const Graph& graph) {
  WeightPairs found;
  for (int i = 0; i < graph.size(); ++i) {
    if (!HasWeight(graph.layer(i).op)) continue;
    WeightPair pair;
    pair.first = i;
    const std::string obstacle = Follow(graph, &pair);
    if (obstacle.empty()) {
      found.pairs.push_back(std::move(pair));
    } else if (i + 1 < graph.size()) {
      found.unpaired.push_back(absl::StrCat(graph.layer(i).name, ": ", obstacle));
    }
  }
  return found;
}

}  // namespace lowbit
