#include "model/passes/equalize.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>
#include <variant>

#include "base/status_macros.h"
#include "model/double_vector.h"
#include "model/graph.h"
#include "model/passes/bias_flag.h"
#include "model/passes/weight_pairs.h"
#include "model/torch_boundary.h"

namespace lowbit {
namespace {

// A round that changes channels by less than this on average was the last one.
constexpr double kConverged = 1e-6;

using Vector = std::vector<double>;

at::Tensor ToTensor(const Vector& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), tensor.data_ptr<double>());
  return tensor;
}

int64_t Groups(const Op& op) {
  const auto* conv = std::get_if<Conv2d>(&op);
  return conv == nullptr ? 1 : conv->groups;
}

// A weight [O, I / groups, ...] as [groups, O / groups, I / groups, taps]: input channel i is [i / (I / groups), :, i %
// (I / groups), :].
at::Tensor ByInput(const at::Tensor& weight, int64_t groups) {
  return weight.reshape({groups, weight.size(0) / groups, weight.size(1), -1});
}

// The largest |w| of each output channel, and of each input channel.
Vector OutputRanges(const at::Tensor& weight) { return ToVector(weight.abs().flatten(1).amax(1)); }
Vector InputRanges(const at::Tensor& weight, int64_t groups) {
  return ToVector(ByInput(weight, groups).abs().amax({1, 3}).flatten());
}

void ScaleOutputs(const Vector& factors, at::Tensor& weight) {
  Shape per_output(static_cast<size_t>(weight.dim()), 1);
  per_output[0] = weight.size(0);
  weight = weight.mul(ToTensor(factors).view(per_output));
}

void ScaleInputs(const Vector& factors, int64_t groups, at::Tensor& weight) {
  const at::Tensor f = ToTensor(factors).view({groups, 1, weight.size(1), 1});
  weight = ByInput(weight, groups).mul(f).reshape(weight.sizes());
}

// The largest over the smallest of the ranges above 0.
double Spread(const Vector& ranges) {
  double smallest = std::numeric_limits<double>::infinity(), largest = 0;
  for (const double range : ranges) {
    if (range > 0) smallest = std::min(smallest, range);
    largest = std::max(largest, range);
  }
  return largest > 0 ? largest / smallest : 1;
}

// The weights on both sides of a pair while they are worked on, and what its channels were scaled by so far.
class PairScaling {
 public:
  PairScaling(const Graph& graph, WeightPair pair)
      : pair_(std::move(pair)),
        first_(graph.layer(pair_.first).name),
        second_(graph.layer(pair_.second).name),
        groups_(Groups(graph.layer(pair_.second).op)),
        total_(static_cast<size_t>(graph.output_shape(pair_.first)[0]), 1.0) {}

  // The range of each channel in the second layer.
  Vector SecondRanges(const ParameterMap& weights) const {
    const Vector inputs = InputRanges(weights.at(ParameterName(second_, "weight")), groups_);
    Vector ranges(total_.size(), 0.0);
    for (size_t k = 0; k < inputs.size(); ++k) {
      if (pair_.source[k] < 0) continue;
      double& range = ranges[static_cast<size_t>(pair_.source[k])];
      range = std::max(range, inputs[k]);
    }
    return ranges;
  }

  Vector FirstRanges(const ParameterMap& weights) const {
    return OutputRanges(weights.at(ParameterName(first_, "weight")));
  }

  // One round. Adds |s - 1| of the channels that are not dead to *change, and their number to *count.
  void Balance(double max_scale, ParameterMap& weights, double* change, int64_t* count) {
    const Vector r1 = FirstRanges(weights), r2 = SecondRanges(weights);
    Vector s(r1.size(), 1.0);
    for (size_t i = 0; i < s.size(); ++i) {
      if (r1[i] == 0 || r2[i] == 0) continue;
      const double wanted = total_[i] * std::sqrt(r2[i] / r1[i]);  // = sqrt(r1 r2) / r1
      const double total = std::clamp(wanted, 1 / max_scale, max_scale);
      s[i] = total / total_[i];
      total_[i] = total;
      *change += std::abs(s[i] - 1);
      ++*count;
    }
    ScaleOutputs(s, weights.at(ParameterName(first_, "weight")));
    Vector inverse(pair_.source.size(), 1.0);
    for (size_t k = 0; k < inverse.size(); ++k) {
      if (pair_.source[k] >= 0) inverse[k] = 1 / s[static_cast<size_t>(pair_.source[k])];
    }
    ScaleInputs(inverse, groups_, weights.at(ParameterName(second_, "weight")));
  }

  EqualizedPair Report(double max_scale, const ParameterMap& before, const ParameterMap& after) const {
    const Vector r1 = FirstRanges(before), r2 = SecondRanges(before);
    EqualizedPair report;
    report.first = first_;
    report.second = second_;
    report.first_spread_before = Spread(r1);
    report.second_spread_before = Spread(r2);
    report.first_spread_after = Spread(FirstRanges(after));
    report.second_spread_after = Spread(SecondRanges(after));
    report.min_scale = *std::min_element(total_.begin(), total_.end());
    report.max_scale = *std::max_element(total_.begin(), total_.end());
    report.channels = static_cast<int64_t>(total_.size());
    for (size_t i = 0; i < total_.size(); ++i) {
      if (r1[i] == 0 || r2[i] == 0) ++report.dead;
      if (total_[i] == max_scale || total_[i] == 1 / max_scale) ++report.limited;
    }
    return report;
  }

  const std::string& first() const { return first_; }
  const std::string& second() const { return second_; }
  const Vector& total() const { return total_; }

 private:
  const WeightPair pair_;
  const std::string first_, second_;
  const int64_t groups_;  // of the second layer
  Vector total_;
};

absl::StatusOr<EqualizeResult> DoEqualize(const Model& model, const NetworkMoments& moments,
                                          const EqualizeOptions& options) {
  WeightPairs found = FindWeightPairs(model.graph);
  std::vector<PairScaling> pairs;
  ParameterMap before;  // the weights of all pairs, in double precision
  for (WeightPair& pair : found.pairs) {
    pairs.emplace_back(model.graph, std::move(pair));
    for (const std::string& layer : {pairs.back().first(), pairs.back().second()}) {
      const std::string name = ParameterName(layer, "weight");
      before[name] = model.parameters.at(name).detach().to(at::kDouble);
    }
  }
  ParameterMap weights = before;
  EqualizeResult result{model, moments, {}, std::move(found.unpaired), 0};
  while (result.iterations < options.iterations && !pairs.empty()) {
    double change = 0;
    int64_t count = 0;
    for (PairScaling& pair : pairs) pair.Balance(options.max_scale, weights, &change, &count);
    ++result.iterations;
    if (count == 0 || change / static_cast<double>(count) < kConverged) break;
  }
  for (const auto& [name, weight] : weights) result.model.parameters[name] = weight.to(at::kFloat);
  for (const PairScaling& pair : pairs) {
    const auto bias = result.model.parameters.find(ParameterName(pair.first(), "bias"));
    if (bias != result.model.parameters.end()) {
      bias->second = bias->second.detach().to(at::kDouble).mul(ToTensor(pair.total())).to(at::kFloat);
    }
    const auto moment = result.moments.find(pair.first());
    if (moment != result.moments.end()) {
      for (size_t i = 0; i < pair.total().size(); ++i) {
        moment->second.mean[i] *= pair.total()[i];
        moment->second.std[i] *= pair.total()[i];
      }
    }
    result.pairs.push_back(pair.Report(options.max_scale, before, weights));
  }
  return result;
}

// ---- High-bias absorption ----

bool PadsWithZeros(const Op& op) {
  if (const auto* conv = std::get_if<Conv2d>(&op)) return conv->padding != Pair{0, 0};
  if (const auto* pool = std::get_if<AvgPool>(&op)) return pool->padding != Pair{0, 0};
  return false;
}

// Whether the second layer pads, or a pool on the way to it.
bool PathPadsWithZeros(const Graph& graph, const WeightPair& pair) {
  for (int i = pair.second; i != pair.first; i = graph.layer(i).inputs[0]) {
    if (PadsWithZeros(graph.layer(i).op)) return true;
  }
  return false;
}

AbsorbedBias Absorb(const Graph& graph, const WeightPair& pair, ChannelMoments& moments, ParameterMap& parameters) {
  AbsorbedBias report;
  report.first = graph.layer(pair.first).name;
  report.second = graph.layer(pair.second).name;
  report.pads_with_zeros = PathPadsWithZeros(graph, pair);
  Vector c(moments.mean.size());
  for (size_t i = 0; i < c.size(); ++i) {
    c[i] = std::max(0.0, moments.mean[i] - 3 * moments.std[i]);
    moments.mean[i] -= c[i];
    if (c[i] > 0) ++report.channels;
    report.max_absorbed = std::max(report.max_absorbed, c[i]);
  }
  at::Tensor& bias1 = parameters.at(ParameterName(report.first, "bias"));
  bias1 = bias1.detach().to(at::kDouble).sub(ToTensor(c)).to(at::kFloat);

  Vector inputs(pair.source.size(), 0.0);
  for (size_t k = 0; k < inputs.size(); ++k) {
    if (pair.source[k] >= 0) inputs[k] = c[static_cast<size_t>(pair.source[k])];
  }
  const Op& second = graph.layer(pair.second).op;
  const int64_t groups = Groups(second);
  const at::Tensor weight2 = parameters.at(ParameterName(report.second, "weight")).detach().to(at::kDouble);
  at::Tensor absorbed =
      ByInput(weight2, groups).mul(ToTensor(inputs).view({groups, 1, weight2.size(1), 1})).sum({2, 3}).flatten();
  at::Tensor& bias2 = parameters[ParameterName(report.second, "bias")];
  report.bias_made = !bias2.defined();
  if (!report.bias_made) absorbed = absorbed.add(bias2.detach().to(at::kDouble));
  bias2 = absorbed.to(at::kFloat);
  return report;
}

absl::StatusOr<AbsorbResult> DoAbsorb(const Model& model, const NetworkMoments& moments) {
  AbsorbResult result{model, moments, {}};
  std::vector<Layer> layers = model.graph.layers();
  for (const WeightPair& pair : FindWeightPairs(model.graph).pairs) {
    const auto moment = result.moments.find(model.graph.layer(pair.first).name);
    if (!pair.through_relu || moment == result.moments.end()) continue;
    result.pairs.push_back(Absorb(model.graph, pair, moment->second, result.model.parameters));
    BiasFlag(layers[static_cast<size_t>(pair.second)].op) = true;
  }
  LOWBIT_ASSIGN_OR_RETURN(result.model.graph, Graph::Create(std::move(layers)));
  return result;
}

}  // namespace

absl::StatusOr<EqualizeResult> Equalize(const Model& model, const NetworkMoments& moments,
                                        const EqualizeOptions& options) {
  LOWBIT_RETURN_IF_ERROR(CheckParameters(model.graph, model.parameters));
  LOWBIT_ASSIGN_OR_RETURN(EqualizeResult result, CatchTorch([&] { return DoEqualize(model, moments, options); }));
  LOWBIT_RETURN_IF_ERROR(CheckParameters(result.model.graph, result.model.parameters));
  return result;
}

absl::StatusOr<AbsorbResult> AbsorbHighBiases(const Model& model, const NetworkMoments& moments) {
  LOWBIT_RETURN_IF_ERROR(CheckParameters(model.graph, model.parameters));
  LOWBIT_ASSIGN_OR_RETURN(AbsorbResult result, CatchTorch([&] { return DoAbsorb(model, moments); }));
  LOWBIT_RETURN_IF_ERROR(CheckParameters(result.model.graph, result.model.parameters));
  return result;
}

}  // namespace lowbit
