#include "model/passes/segment.h"

#include <algorithm>
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

int LastCut(const Graph& graph, int layer, int last) {
  LOWBIT_CHECK(0 < layer && layer <= last, "layers ", layer, " and ", last);
  int cut = last;  // the earliest layer that the needed ones from here on read
  const std::vector<int> needed = NeededLayers(graph, last);
  for (auto i = needed.rbegin(); i != needed.rend(); ++i) {
    if (*i < layer && *i <= cut && graph.output_shape(*i).size() == 3) return *i;
    for (const int input : graph.layer(*i).inputs) cut = std::min(cut, input);
  }
  return 0;
}

Model Segment(const Model& model, int first, int last) {
  const Shape& shape = model.graph.output_shape(first);
  LOWBIT_CHECK(shape.size() == 3, model.graph.layer(first).name, " puts out no image");
  std::vector<Layer> layers = {{model.graph.layer(first).name, Input{shape[0], shape[1], shape[2]}, {}}};
  std::map<int, int> index = {{first, 0}};  // in the new graph
  ParameterMap parameters;
  for (const int i : NeededLayers(model.graph, last)) {
    if (i <= first) continue;
    Layer copy = model.graph.layer(i);
    for (int& input : copy.inputs) {
      LOWBIT_CHECK(index.count(input) == 1, copy.name, " reads what comes before ", model.graph.layer(first).name);
      input = index[input];
    }
    index[i] = static_cast<int>(layers.size());
    for (const auto& [name, unused_shape] : ParameterShapes(copy.op)) {
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
