#include "model/cuts.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"

namespace lowbit {

std::vector<int> Cuts(const Graph& graph) {
  std::vector<int> cuts;
  int earliest = graph.size();  // that a layer after i reads
  for (int i = graph.size() - 1; i >= 0; --i) {
    if (i < graph.size() - 1 && earliest >= i && graph.output_shape(i).size() == 3) cuts.push_back(i);
    for (const int input : graph.layer(i).inputs) earliest = std::min(earliest, input);
  }
  std::reverse(cuts.begin(), cuts.end());
  return cuts;
}

absl::StatusOr<Model> AfterCut(const Model& model, int cut) {
  LOWBIT_CHECK(cut >= 0 && cut < model.graph.size() - 1 && model.graph.output_shape(cut).size() == 3, cut,
               " is no place to cut at");
  const Shape& shape = model.graph.output_shape(cut);
  std::vector<Layer> layers = {{model.graph.layer(cut).name, Input{shape[0], shape[1], shape[2]}, {}}};
  ParameterMap parameters;
  for (int i = cut + 1; i < model.graph.size(); ++i) {
    Layer layer = model.graph.layer(i);
    for (int& input : layer.inputs) input -= cut;
    for (const auto& [parameter, shape_of_it] : ParameterShapes(layer.op)) {
      const std::string name = ParameterName(layer.name, parameter);
      parameters[name] = model.parameters.at(name);
    }
    layers.push_back(std::move(layer));
  }
  LOWBIT_ASSIGN_OR_RETURN(Graph graph, Graph::Create(std::move(layers)));
  return Model{std::move(graph), std::move(parameters)};
}

}  // namespace lowbit
