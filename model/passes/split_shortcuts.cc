#include "model/passes/split_shortcuts.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/graph.h"

namespace lowbit {
namespace {

// Whether layer i adds its input to something, or hands it on, by itself or not, to one that does.
bool LeadsToAdd(const Graph& graph, int i) {
  const Op& op = graph.layer(i).op;
  if (std::holds_alternative<Add>(op)) return true;
  const bool hands_on = std::holds_alternative<Subsample>(op) || std::holds_alternative<PadChannels>(op) ||
                        std::holds_alternative<AvgPool>(op) || std::holds_alternative<MaxPool>(op);
  const std::vector<int>& readers = graph.consumers(i);
  return hands_on && std::any_of(readers.begin(), readers.end(), [&](int j) { return LeadsToAdd(graph, j); });
}

// An operation that leaves what layer i puts out as it is, if there is one.
std::optional<Op> Identity(const Graph& graph, int i) {
  if (std::holds_alternative<Relu>(graph.layer(i).op)) return Relu{};
  if (graph.output_shape(i).size() == 3) return MaxPool{};
  return std::nullopt;
}

bool IsSplit(const Graph& graph, int i) {
  const std::vector<int>& readers = graph.consumers(i);
  return i > 0 && Identity(graph, i).has_value() &&
         std::any_of(readers.begin(), readers.end(), [&](int j) { return HasWeight(graph.layer(j).op); }) &&
         std::any_of(readers.begin(), readers.end(), [&](int j) { return LeadsToAdd(graph, j); });
}

}  // namespace

absl::StatusOr<SplitResult> SplitShortcuts(const Model& model) {
  const Graph& graph = model.graph;
  std::vector<std::string> split;
  std::vector<Layer> layers;
  // By the old index, the new one of what those with a weight and all others read.
  std::vector<int> branch, shortcut;
  for (int i = 0; i < graph.size(); ++i) {
    Layer layer = graph.layer(i);
    for (int& input : layer.inputs) {
      input = (HasWeight(layer.op) ? branch : shortcut)[static_cast<size_t>(input)];
    }
    layers.push_back(std::move(layer));
    shortcut.push_back(static_cast<int>(layers.size()) - 1);
    if (IsSplit(graph, i)) {
      const std::string& name = graph.layer(i).name;
      layers.push_back({absl::StrCat(name, ".branch"), *Identity(graph, i), {shortcut.back()}});
      split.push_back(name);
    }
    branch.push_back(static_cast<int>(layers.size()) - 1);
  }
  LOWBIT_ASSIGN_OR_RETURN(Graph made, Graph::Create(std::move(layers)));
  return SplitResult{Model{std::move(made), model.parameters}, std::move(split)};
}

}  // namespace lowbit
