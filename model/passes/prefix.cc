#include "model/passes/prefix.h"

#include <map>
#include <utility>

#include "absl/status/statusor.h"
#include "base/check.h"

namespace lowbit {

std::vector<int> NeededLayers(const Graph& graph, int layer) {
  std::vector<bool> needed(static_cast<size_t>(layer) + 1, false);
  needed.back() = true;
  std::vector<int> layers;
  for (int i = layer; i >= 0; --i) {
    if (!needed[static_cast<size_t>(i)]) continue;
    layers.insert(layers.begin(), i);
    for (const int input : graph.layer(i).inputs) needed[static_cast<size_t>(input)] = true;
  }
  return layers;
}

Model Prefix(const Model& model, int layer) {
  std::vector<Layer> layers;
  std::map<int, int> index;  // in the new graph
  ParameterMap parameters;
  for (const int i : NeededLayers(model.graph, layer)) {
    Layer copy = model.graph.layer(i);
    for (int& input : copy.inputs) input = index.at(input);
    index[i] = static_cast<int>(layers.size());
    for (const auto& [name, shape] : ParameterShapes(copy.op)) {
      const std::string full_name = ParameterName(copy.name, name);
      parameters[full_name] = model.parameters.at(full_name);
    }
    layers.push_back(std::move(copy));
  }
  absl::StatusOr<Graph> graph = Graph::Create(std::move(layers));
  LOWBIT_CHECK(graph.ok(), "part of a graph that is none: ", graph.status().message());
  return Model{*std::move(graph), std::move(parameters)};
}

}  // namespace lowbit
