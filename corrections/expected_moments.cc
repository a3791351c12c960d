#include "corrections/expected_moments.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "model/double_vector.h"
#include "model/graph.h"

namespace lowbit {
namespace {

using Vector = std::vector<double>;

double StandardNormalDensity(double a) { return std::exp(-a * a / 2) * (M_2_SQRTPI / 2 * M_SQRT1_2); }
double StandardNormalBelow(double a) { return std::erfc(-a * M_SQRT1_2) / 2; }

// A layer's expected output from those of its inputs.
struct Propagate {
  const Graph& graph;
  const Layer& layer;
  const ParameterMap& parameters;
  const std::vector<ExpectedOutput>& outputs;

  const ExpectedOutput& x(size_t k = 0) const { return outputs[static_cast<size_t>(layer.inputs[k])]; }
  const Layer& producer() const { return graph.layer(layer.inputs[0]); }
  Vector Parameter(absl::string_view name) const { return ToVector(parameters.at(ParameterName(layer.name, name))); }

  // For an operation that something stands in the way of.
  ExpectedOutput Unknown() const {
    return {std::nullopt, std::nullopt,
            absl::StrCat("the mean of \"", layer.name, "\" (", OpName(layer.op), ") cannot be told without images")};
  }

  ExpectedOutput operator()(const Input&) const {
    return {std::nullopt, std::nullopt, "the mean of the images is not known"};
  }

  ExpectedOutput operator()(const BatchNorm& op) const {
    const Vector gamma = Parameter("weight"), variance = Parameter("running_var");
    Vector std(gamma.size());
    for (size_t c = 0; c < std.size(); ++c)
      std[c] = std::abs(gamma[c]) * std::sqrt(variance[c] / (variance[c] + op.eps));
    return {Parameter("bias"), std::move(std), ""};
  }

  ExpectedOutput operator()(const Relu&) const {
    if (!x().mean.has_value()) return x();
    if (!x().std.has_value()) return Unknown();
    ChannelMoments clipped = ClippedNormal({*x().mean, *x().std});
    return {std::move(clipped.mean), std::move(clipped.std), ""};
  }

  ExpectedOutput operator()(const Add&) const {
    ExpectedOutput sum = x(0);
    const ExpectedOutput& other = x(1);
    if (!sum.mean.has_value()) return sum;
    if (!other.mean.has_value()) return other;
    if (!other.std.has_value()) sum.std.reset();
    for (size_t c = 0; c < sum.mean->size(); ++c) {
      (*sum.mean)[c] += (*other.mean)[c];
      if (sum.std.has_value()) (*sum.std)[c] = std::hypot((*sum.std)[c], (*other.std)[c]);
    }
    return sum;
  }

  ExpectedOutput MeanOnly() const {
    ExpectedOutput mean = x();
    mean.std.reset();
    return mean;
  }

  ExpectedOutput operator()(const GlobalAvgPool&) const { return MeanOnly(); }
  ExpectedOutput operator()(const AvgPool& op) const { return op.padding == Pair{0, 0} ? MeanOnly() : Unknown(); }
  ExpectedOutput operator()(const MaxPool&) const { return Unknown(); }
  ExpectedOutput operator()(const Subsample&) const { return x(); }

  ExpectedOutput operator()(const PadChannels& op) const {
    const auto pad = [&op](const Vector& given) {
      Vector padded(static_cast<size_t>(op.before), 0.0);
      padded.insert(padded.end(), given.begin(), given.end());
      padded.resize(padded.size() + static_cast<size_t>(op.after), 0.0);
      return padded;
    };
    ExpectedOutput padded = x();
    if (padded.mean.has_value()) padded.mean = pad(*padded.mean);
    if (padded.std.has_value()) padded.std = pad(*padded.std);
    return padded;
  }

  ExpectedOutput operator()(const Flatten&) const {
    const Shape& shape = graph.output_shape(layer.inputs[0]);
    const size_t pixels = shape.size() == 3 ? static_cast<size_t>(shape[1] * shape[2]) : 1;
    const auto repeat = [pixels](const Vector& given) {
      Vector features;
      for (const double value : given) features.insert(features.end(), pixels, value);
      return features;
    };
    ExpectedOutput flat = x();
    if (flat.mean.has_value()) flat.mean = repeat(*flat.mean);
    if (flat.std.has_value()) flat.std = repeat(*flat.std);
    return flat;
  }

  ExpectedOutput operator()(const Conv2d& op) const {
    return op.padding == Pair{0, 0} ? MatrixProduct(op.groups, op.bias) : Unknown();
  }
  ExpectedOutput operator()(const Linear& op) const { return MatrixProduct(1, op.bias); }

  ExpectedOutput MatrixProduct(int64_t groups, bool has_bias) const {
    if (!x().mean.has_value()) return x();
    const at::Tensor weight = parameters.at(ParameterName(layer.name, "weight"));
    const int64_t outputs_per_group = weight.size(0) / groups, inputs_per_group = weight.size(1);
    const int64_t taps = weight.numel() / (weight.size(0) * inputs_per_group);
    const Vector w = ToVector(weight);
    Vector mean = has_bias ? Parameter("bias") : Vector(static_cast<size_t>(weight.size(0)), 0.0);
    for (int64_t o = 0, k = 0; o < weight.size(0); ++o) {
      for (int64_t i = 0; i < inputs_per_group; ++i) {
        const int64_t input = o / outputs_per_group * inputs_per_group + i;
        for (int64_t tap = 0; tap < taps; ++tap, ++k) {
          mean[static_cast<size_t>(o)] += w[static_cast<size_t>(k)] * (*x().mean)[static_cast<size_t>(input)];
        }
      }
    }
    return {std::move(mean), std::nullopt, ""};
  }
};

}  // namespace

ChannelMoments ClippedNormal(const ChannelMoments& x) {
  ChannelMoments clipped = x;
  for (size_t c = 0; c < x.mean.size(); ++c) {
    const double mean = x.mean[c], std = x.std[c];
    if (std == 0) {
      clipped.mean[c] = std::max(0.0, mean);
      continue;
    }
    const double phi = StandardNormalDensity(mean / std), below = StandardNormalBelow(mean / std);
    const double first = std * phi + mean * below;
    const double second = (mean * mean + std * std) * below + mean * std * phi;
    clipped.mean[c] = std::max(0.0, first);  // Far below 0 the two terms cancel to within rounding.
    clipped.std[c] = std::sqrt(std::max(0.0, second - first * first));
  }
  return clipped;
}

std::vector<ExpectedOutput> ExpectedOutputs(const Model& model, const NetworkMoments& moments) {
  std::vector<ExpectedOutput> outputs;
  for (const Layer& layer : model.graph.layers()) {
    const auto known = moments.find(layer.name);
    if (known != moments.end()) {
      outputs.push_back({known->second.mean, known->second.std, ""});
    } else {
      outputs.push_back(std::visit(Propagate{model.graph, layer, model.parameters, outputs}, layer.op));
    }
  }
  return outputs;
}

}  // namespace lowbit
