#include "learning/learned_network.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <c10/core/GradMode.h>

#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "learning/learned_fake_quantize.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

// Of what an activation's scale began with.
constexpr double kSmallestFactor = 0.1;

}  // namespace

class LearnedNetwork::Hook : public LayerHook {
 public:
  Hook(const std::map<int, LearnedActivation>& activations, const ActivationMode& mode)
      : activations_(activations), mode_(mode) {}

  // Lets `kept` have what the layer puts out.
  void Keep(int layer, at::Tensor* kept) { kept_[layer].push_back(kept); }

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    at::Tensor quantized = Quantized(layer, std::move(y));
    const auto found = kept_.find(layer);
    if (found != kept_.end()) {
      for (at::Tensor* const kept : found->second) *kept = quantized.to(at::kFloat);
    }
    return quantized;
  }

 private:
  at::Tensor Quantized(int layer, at::Tensor y) const {
    const auto found = activations_.find(layer);
    if (found == activations_.end()) return y;
    const LearnedActivation& activation = found->second;
    if (mode_.float_part >= 1) return activation.relu ? y.relu() : y;
    const RandomFloat stays_float{mode_.float_part,
                                  static_cast<uint32_t>(MixKeys({mode_.seed, static_cast<uint64_t>(layer)}))};
    const at::Tensor scale = activation.factor.mul(activation.params.scale.front());
    return LearnedFakeQuantize(y.to(at::kFloat), scale, activation.params, activation.relu, stays_float);
  }

  const std::map<int, LearnedActivation>& activations_;
  const ActivationMode mode_;
  std::map<int, std::vector<at::Tensor*>> kept_;
};

// A relu whose result is quantized, and that alone reads its input, becomes part of the fake quantization: the graph
// that is run has no such relus. Fills activations_.
absl::StatusOr<Graph> LearnedNetwork::FuseRelus() {
  const Graph& graph = start_.graph;
  std::vector<Layer> layers;
  std::vector<int> index(static_cast<size_t>(graph.size()));  // in the new graph
  for (int i = 0; i < graph.size(); ++i) {
    Layer layer = graph.layer(i);
    const auto params = start_.activations.find(layer.name);
    const bool quantized = params != start_.activations.end();
    bool fused = false;
    if (quantized && std::holds_alternative<Relu>(layer.op)) {
      const int producer = layer.inputs.front();
      fused = producer > 0 && graph.consumers(producer).size() == 1 &&
              start_.activations.count(graph.layer(producer).name) == 0;
      if (fused) index[static_cast<size_t>(i)] = index[static_cast<size_t>(producer)];
    }
    if (!fused) {
      for (int& input : layer.inputs) input = index[static_cast<size_t>(input)];
      index[static_cast<size_t>(i)] = static_cast<int>(layers.size());
      layers.push_back(layer);
    }
    layer_index_[graph.layer(i).name] = index[static_cast<size_t>(i)];
    if (!quantized) continue;
    at::Tensor factor = at::ones({1}, at::kFloat);
    if (options_.activation_scales) {
      activation_scales_[graph.layer(i).name] = factor.set_requires_grad(true);
    }
    activations_[index[static_cast<size_t>(i)]] = {graph.layer(i).name, params->second, factor, fused};
  }
  return Graph::Create(std::move(layers));
}

void LearnedNetwork::AddWeight(const Model& float_network, const std::string& name, const PackedWeight& packed,
                               ParameterMap* parameters) {
  const std::string parameter = ParameterName(name, "weight");
  const at::Tensor& float_weight = float_network.parameters.at(parameter);
  const QuantizedTensor start{packed.params, UnpackWeight(packed)};
  LearnedLayer layer{name, nullptr, at::empty(float_weight.sizes(), at::kFloat), at::Tensor()};
  switch (options_.rounding) {
    case LearnedRounding::kUpOrDown:
      layer.weight = MakeUpOrDown(float_weight, start, options_.hold);
      break;
    case LearnedRounding::kDivided:
      layer.weight = MakeDivided(float_weight, start);
      break;
    case LearnedRounding::kLatent:
      layer.weight = MakeLatent(float_weight, start, options_.hold);
      break;
    case LearnedRounding::kAsChosen:
      layer.weight = MakeAsChosen(start);
      break;
  }
  layer.leaf = parameters->at(parameter).clone(float_weight.dim() == 4 ? at::MemoryFormat::ChannelsLast
                                                                       : at::MemoryFormat::Contiguous);
  layer.leaf.set_requires_grad(true);
  (*parameters)[parameter] = layer.leaf;
  if (options_.rounding != LearnedRounding::kAsChosen) {
    for (size_t i = 0; i < layer.weight->rounding().size(); ++i) {
      roundings_[absl::StrCat(name, "/", i)] = layer.weight->rounding()[i];
    }
  }
  if (options_.weight_scales) weight_scales_[name] = layer.weight->scale_factor();
  layers_.push_back(std::move(layer));
}

absl::StatusOr<std::unique_ptr<LearnedNetwork>> LearnedNetwork::Create(const Model& float_network,
                                                                       const QuantizedModel& start,
                                                                       const LearnedNetworkOptions& options) {
  std::unique_ptr<LearnedNetwork> network(new LearnedNetwork(start, options));
  LOWBIT_ASSIGN_OR_RETURN(const Graph graph, network->FuseRelus());
  LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(start));
  if (options.rounding != LearnedRounding::kAsChosen || options.weight_scales) {
    for (const auto& [name, packed] : start.weights) network->AddWeight(float_network, name, packed, &parameters);
  }
  if (options.biases) {
    for (auto& [name, tensor] : parameters) {
      if (!absl::EndsWith(name, ".bias")) continue;
      tensor = tensor.clone().set_requires_grad(true);
      network->biases_[name] = tensor;
    }
  }
  ExecutorOptions training;
  training.training = true;
  training.bfloat16 = options.bfloat16;
  LOWBIT_ASSIGN_OR_RETURN(network->executor_, Executor::Create(graph, std::move(parameters), training));
  return network;
}

void LearnedNetwork::Write() {
  const c10::AutoGradMode no_gradients(false);
  for (LearnedLayer& layer : layers_) {
    if (!layer.leaf.requires_grad()) continue;
    layer.weight->Write(layer.value);
    layer.leaf.copy_(layer.value);
  }
}

absl::StatusOr<at::Tensor> LearnedNetwork::Forward(const at::Tensor& x, const ActivationMode& mode,
                                                   std::map<std::string, at::Tensor>* kept) {
  Hook hook(activations_, mode);
  if (kept != nullptr) {
    for (auto& [name, tensor] : *kept) hook.Keep(layer_index_.at(name), &tensor);
  }
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor y, executor_->Forward(x, &hook));
  return y.to(at::kFloat);
}

void LearnedNetwork::Back() {
  for (LearnedLayer& layer : layers_) {
    if (!layer.leaf.requires_grad()) continue;
    layer.weight->Back(layer.leaf.grad().contiguous());
    layer.leaf.mutable_grad().reset();
  }
}

double LearnedNetwork::Regularize(double weight, double sharpness) {
  double sum = 0;
  for (LearnedLayer& layer : layers_) sum += layer.weight->Regularize(weight, sharpness);
  return sum;
}

void LearnedNetwork::KeepScales() {
  for (LearnedLayer& layer : layers_) layer.weight->KeepScales();
  const c10::AutoGradMode no_gradients(false);
  for (auto& [layer, activation] : activations_) activation.factor.clamp_min_(kSmallestFactor);
}

void LearnedNetwork::FreezeWeights() {
  for (LearnedLayer& layer : layers_) {
    const QuantizedTensor weight = layer.weight->Harden();
    layer.leaf.set_requires_grad(false);
    layer.leaf.copy_(Dequantize(weight.codes, weight.params));
  }
  for (auto& [name, bias] : biases_) bias.set_requires_grad(false);
}

absl::StatusOr<QuantizedModel> LearnedNetwork::Harden() const {
  QuantizedModel model = start_;
  for (const LearnedLayer& layer : layers_) {
    LOWBIT_RETURN_IF_ERROR(SetWeight(layer.name, layer.weight->Harden(), &model));
  }
  for (const auto& [name, bias] : biases_) LOWBIT_RETURN_IF_ERROR(SetParameter(name, bias.detach(), &model));
  for (const auto& [layer, activation] : activations_) {
    model.activations.at(activation.layer).scale.front() *= *activation.factor.data_ptr<float>();
  }
  return model;
}

LearnedCounts LearnedNetwork::Count() const {
  LearnedCounts counts;
  for (const LearnedLayer& layer : layers_) {
    counts.roundings += layer.weight->size();
    counts.undecided += layer.weight->Undecided();
    const at::Tensor before = UnpackWeight(start_.weights.at(layer.name));
    counts.flipped += before.ne(layer.weight->Harden().codes).sum().item<int64_t>();
  }
  return counts;
}

}  // namespace lowbit
