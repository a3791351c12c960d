#include "model/passes/fold_batch_norm.h"

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/double_vector.h"
#include "model/graph.h"
#include "model/passes/bias_flag.h"
#include "model/torch_boundary.h"

namespace lowbit {
namespace {

// Why batch norm `i` cannot be folded, or nothing if it can.
std::string Obstacle(const Graph& graph, int i) {
  const int producer = graph.layer(i).inputs[0];
  const Layer& before = graph.layer(producer);
  if (!HasWeight(before.op)) {
    return absl::StrCat("it reads \"", before.name, "\" (", OpName(before.op), "), not a Conv2d or Linear");
  }
  const std::vector<int>& readers = graph.consumers(producer);
  if (readers.size() == 1) return "";
  const int other = readers[0] == i ? readers[1] : readers[0];
  return absl::StrCat("\"", before.name, "\" is also read by \"", graph.layer(other).name, "\"");
}

absl::Status CheckVariance(const std::string& name, const at::Tensor& variance, double eps) {
  const at::Tensor values = variance.contiguous();
  for (int64_t c = 0; c < values.numel(); ++c) {
    const double value = values.data_ptr<double>()[c];
    if (value >= 0 && value + eps > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("layer \"", name, "\" (BatchNorm): running_var of channel ", c,
                                                   " is ", value, ", with eps ", eps,
                                                   "; it must not be negative nor the sum zero"));
  }
  return absl::OkStatus();
}

// The numbers of the pair become those of the layer alone.
absl::StatusOr<ChannelMoments> FoldPair(const Layer& layer, const Layer& norm, double eps, ParameterMap& parameters) {
  const auto take = [&](absl::string_view name) {
    const auto it = parameters.find(ParameterName(norm.name, name));
    const at::Tensor value = it->second.detach().to(at::kDouble);
    parameters.erase(it);
    return value;
  };
  const at::Tensor gamma = take("weight"), beta = take("bias");
  const at::Tensor mean = take("running_mean"), variance = take("running_var");
  LOWBIT_RETURN_IF_ERROR(CheckVariance(norm.name, variance, eps));
  const at::Tensor s = gamma.div(variance.add(eps).sqrt());

  at::Tensor& weight = parameters[ParameterName(layer.name, "weight")];
  std::vector<int64_t> per_output(static_cast<size_t>(weight.dim()), 1);
  per_output[0] = s.numel();
  weight = weight.detach().to(at::kDouble).mul(s.view(per_output)).to(at::kFloat);

  at::Tensor& bias = parameters[ParameterName(layer.name, "bias")];
  at::Tensor shift = mean.neg();
  if (bias.defined()) shift = shift.add(bias.detach().to(at::kDouble));
  bias = shift.mul(s).add(beta).to(at::kFloat);
  return ChannelMoments{ToVector(beta), ToVector(s.abs().mul(variance.sqrt()))};
}

}  // namespace

absl::StatusOr<FoldResult> FoldBatchNorm(const Model& model) {
  LOWBIT_RETURN_IF_ERROR(CheckParameters(model.graph, model.parameters));
  const Graph& graph = model.graph;
  ParameterMap parameters = model.parameters;
  std::vector<FoldedPair> folded;
  NetworkMoments moments;
  std::vector<std::string> not_folded;
  std::vector<Layer> layers;
  std::vector<int> new_index;  // By old index; of a folded batch norm, that of the layer before it.
  for (int i = 0; i < graph.size(); ++i) {
    Layer layer = graph.layer(i);
    for (int& input : layer.inputs) input = new_index[static_cast<size_t>(input)];
    if (const auto* norm = std::get_if<BatchNorm>(&layer.op)) {
      const std::string obstacle = Obstacle(graph, i);
      if (obstacle.empty()) {
        Layer& before = layers[static_cast<size_t>(layer.inputs[0])];
        LOWBIT_ASSIGN_OR_RETURN(moments[before.name],
                                CatchTorch([&] { return FoldPair(before, layer, norm->eps, parameters); }));
        folded.push_back({before.name, layer.name, !std::exchange(BiasFlag(before.op), true)});
        new_index.push_back(layer.inputs[0]);
        continue;
      }
      not_folded.push_back(absl::StrCat(layer.name, ": ", obstacle));
    }
    new_index.push_back(static_cast<int>(layers.size()));
    layers.push_back(std::move(layer));
  }
  LOWBIT_ASSIGN_OR_RETURN(Graph result, Graph::Create(std::move(layers)));
  Model out{std::move(result), std::move(parameters)};
  // Finite numbers can still overflow float when scaled.
  LOWBIT_RETURN_IF_ERROR(CheckParameters(out.graph, out.parameters));
  return FoldResult{std::move(out), std::move(folded), std::move(moments), std::move(not_folded)};
}

}  // namespace lowbit
