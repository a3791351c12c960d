#include "corrections/bias_correction.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "corrections/channel_statistics.h"
#include "corrections/expected_moments.h"
#include "model/double_vector.h"
#include "model/executor.h"
#include "model/torch_boundary.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

// Of the float network's pass. The quantized one sees all images at once.
constexpr int64_t kFloatBatch = 256;

using Vector = std::vector<double>;

double LargestMagnitude(const Vector& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

// ---- Analytic ----

// For each index of a kernel's side, the share of output positions at which it does not fall on padding.
Vector InsideShares(int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, int64_t input, int64_t output) {
  Vector shares;
  for (int64_t k = 0; k < kernel; ++k) {
    int64_t inside = 0;
    for (int64_t o = 0; o < output; ++o) {
      const int64_t position = o * stride - padding + k * dilation;
      if (position >= 0 && position < input) ++inside;
    }
    shares.push_back(static_cast<double>(inside) / static_cast<double>(output));
  }
  return shares;
}

// share[k] for each tap of the layer's kernel, in the order of its weight.
Vector TapShares(const Graph& graph, int index) {
  const Layer& layer = graph.layer(index);
  const auto* conv = std::get_if<Conv2d>(&layer.op);
  if (conv == nullptr) return {1.0};
  const Shape& in = graph.output_shape(layer.inputs[0]);
  const Shape& out = graph.output_shape(index);
  const Vector rows =
      InsideShares(conv->kernel[0], conv->stride[0], conv->padding[0], conv->dilation[0], in[1], out[1]);
  const Vector columns =
      InsideShares(conv->kernel[1], conv->stride[1], conv->padding[1], conv->dilation[1], in[2], out[2]);
  Vector shares;
  for (const double row : rows) {
    for (const double column : columns) shares.push_back(row * column);
  }
  return shares;
}

// shift[o] = sum over i and k of error[o, i, k] mean[i] share[k]
Vector ExpectedShift(const at::Tensor& error, int64_t groups, const Vector& mean, const Vector& shares) {
  const int64_t outputs = error.size(0), inputs_per_group = error.size(1);
  const Vector e = ToVector(error);
  Vector shift(static_cast<size_t>(outputs), 0.0);
  size_t index = 0;
  for (int64_t o = 0; o < outputs; ++o) {
    const int64_t first_input = o / (outputs / groups) * inputs_per_group;
    for (int64_t i = 0; i < inputs_per_group; ++i) {
      for (const double share : shares) {
        shift[static_cast<size_t>(o)] += e[index++] * mean[static_cast<size_t>(first_input + i)] * share;
      }
    }
  }
  return shift;
}

absl::StatusOr<BiasCorrection> DoAnalytic(const Model& float_model, const NetworkMoments& moments,
                                          const QuantizedModel& quantized) {
  LOWBIT_ASSIGN_OR_RETURN(const ParameterMap parameters, FakeQuantParameters(quantized));
  const Graph& graph = float_model.graph;
  const std::vector<ExpectedOutput> outputs = ExpectedOutputs(float_model, moments);
  BiasCorrection result{quantized, {}, {}};
  for (int i = 0; i < graph.size(); ++i) {
    const Layer& layer = graph.layer(i);
    if (quantized.weights.count(layer.name) == 0) continue;
    const ExpectedOutput& input = outputs[static_cast<size_t>(layer.inputs[0])];
    std::string obstacle = WhyNotCorrected(layer);
    if (obstacle.empty() && !input.mean.has_value()) obstacle = input.unknown;
    if (!obstacle.empty()) {
      result.skipped.push_back(absl::StrCat(layer.name, ": ", obstacle));
      continue;
    }
    const std::string weight = ParameterName(layer.name, "weight"), bias = ParameterName(layer.name, "bias");
    const at::Tensor error = parameters.at(weight).to(at::kDouble).sub(float_model.parameters.at(weight).detach());
    const auto* conv = std::get_if<Conv2d>(&layer.op);
    const Vector shift = ExpectedShift(error, conv == nullptr ? 1 : conv->groups, *input.mean, TapShares(graph, i));
    Vector corrected = ToVector(float_model.parameters.at(bias));  // whatever was corrected before
    for (size_t o = 0; o < shift.size(); ++o) corrected[o] -= shift[o];
    LOWBIT_RETURN_IF_ERROR(SetParameter(bias, ToFloats(corrected), &result.model));
    LayerCorrection correction;
    correction.layer = layer.name;
    correction.max_shift = LargestMagnitude(shift);
    result.corrected.push_back(std::move(correction));
  }
  return result;
}

// ---- Empirical ----

// The moments of what each correctable layer of the float network puts out.
class OutputMoments : public LayerHook {
 public:
  explicit OutputMoments(const Graph& graph) : graph_(graph) {}

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    const Layer& producer = graph_.layer(layer);
    if (HasWeight(producer.op) && WhyNotCorrected(producer).empty() && error_.ok()) {
      const absl::Status status = statistics_[producer.name].Observe(y);
      if (!status.ok())
        error_ = absl::Status(status.code(), absl::StrCat("output of ", producer.name, ": ", status.message()));
    }
    return y;
  }

  const absl::Status& error() const { return error_; }
  NetworkMoments moments() const {
    NetworkMoments moments;
    for (const auto& [layer, statistics] : statistics_) moments[layer] = statistics.moments();
    return moments;
  }

 private:
  const Graph& graph_;
  std::map<std::string, ChannelStatistics> statistics_;
  absl::Status error_;
};

absl::StatusOr<NetworkMoments> FloatMoments(const Model& model, const at::Tensor& images) {
  LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(model.graph, model.parameters));
  OutputMoments hook(model.graph);
  Progress progress("bias_correction: in float", images.size(0));
  for (int64_t begin = 0; begin < images.size(0); begin += kFloatBatch) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    const int64_t size = std::min(kFloatBatch, images.size(0) - begin);
    LOWBIT_RETURN_IF_ERROR(executor.Forward(images.narrow(0, begin, size), &hook).status());
    LOWBIT_RETURN_IF_ERROR(hook.error());
    progress.Advance(size);
  }
  return hook.moments();
}

// Multiplies the weight's rows by `ratios`, as far as scales in float32 can; returns by what they were multiplied.
Vector ScaleRows(const Vector& ratios, QuantParams* params) {
  if (!params->per_channel()) {
    params->scale.resize(ratios.size(), params->scale.front());
    params->zero_point.resize(ratios.size(), params->zero_point.front());
    const std::vector<float> bases = params->bases;
    for (size_t o = 1; o < ratios.size(); ++o) params->bases.insert(params->bases.end(), bases.begin(), bases.end());
  }
  Vector done;
  for (size_t o = 0; o < ratios.size(); ++o) {
    const float scaled = static_cast<float>(params->scale[o] * ratios[o]);
    // A scale at either end of what float holds stays.
    const bool usable = std::isfinite(scaled) && scaled > 0;
    done.push_back(usable ? static_cast<double>(scaled) / params->scale[o] : 1.0);
    if (usable) params->scale[o] = scaled;
  }
  return done;
}

// Corrects each layer as the images come by, and hands on what the corrected layer would have put out.
class Corrector : public LayerHook {
 public:
  Corrector(const NetworkMoments& wanted, Matched matched, const ParameterMap& parameters, BiasCorrection* result)
      : wanted_(wanted),
        matched_(matched),
        parameters_(parameters),
        fake_quant_(result->model),
        result_(*result),
        progress_("bias_correction: quantized", static_cast<int64_t>(wanted.size()), "layers") {}

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    // The pass cannot be ended from here; what is left of it runs without this work.
    if (!error_.ok()) return y;
    const std::string& name = result_.model.graph.layer(layer).name;
    const auto wanted = wanted_.find(name);
    if (wanted != wanted_.end()) {
      error_ = CheckInterrupt();
      if (error_.ok()) error_ = Correct(name, wanted->second, y);
      progress_.Advance(1);
    }
    return fake_quant_.OnOutput(layer, std::move(y));
  }

  const absl::Status& error() const { return error_; }

 private:
  absl::Status Correct(const std::string& layer, const ChannelMoments& y_float, at::Tensor& y) {
    ChannelStatistics statistics;
    const absl::Status status = statistics.Observe(y);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("output of quantized ", layer, ": ", status.message()));
    }
    const ChannelMoments q = statistics.moments();
    LayerCorrection correction;
    correction.layer = layer;
    Vector r(q.mean.size(), 1.0);
    if (matched_ == Matched::kMeanAndStd)
      LOWBIT_RETURN_IF_ERROR(ScaleWeight(layer, Ratios(y_float, q, &correction), &r));

    const std::string name = ParameterName(layer, "bias");
    const Vector old_bias = ToVector(parameters_.at(name));
    Vector bias(old_bias.size()), offset(old_bias.size());
    for (size_t o = 0; o < bias.size(); ++o) {
      bias[o] = r[o] * (old_bias[o] - q.mean[o]) + y_float.mean[o];
      offset[o] = static_cast<double>(static_cast<float>(bias[o])) - r[o] * old_bias[o];
      correction.max_shift = std::max(correction.max_shift, std::abs(y_float.mean[o] - q.mean[o]));
    }
    LOWBIT_RETURN_IF_ERROR(SetParameter(name, ToFloats(bias), &result_.model));
    result_.corrected.push_back(std::move(correction));

    // The corrected layer's output: r (y - old bias) + bias.
    Shape per_channel(static_cast<size_t>(y.dim()), 1);
    per_channel[1] = y.size(1);
    if (matched_ == Matched::kMeanAndStd) y.mul_(ToFloats(r).view(per_channel));
    y.add_(ToFloats(offset).view(per_channel));
    return absl::OkStatus();
  }

  static Vector Ratios(const ChannelMoments& y, const ChannelMoments& q, LayerCorrection* correction) {
    Vector ratios(q.std.size(), 1.0);
    for (size_t o = 0; o < ratios.size(); ++o) {
      if (y.std[o] == 0 || q.std[o] == 0) {
        ++correction->dead;
        continue;
      }
      const double wanted = y.std[o] / q.std[o];
      ratios[o] = std::clamp(wanted, 1 / kMaxStdRatio, kMaxStdRatio);
      if (ratios[o] != wanted) ++correction->limited;
    }
    correction->min_ratio = *std::min_element(ratios.begin(), ratios.end());
    correction->max_ratio = *std::max_element(ratios.begin(), ratios.end());
    return ratios;
  }

  // *done: by what the rows were multiplied.
  absl::Status ScaleWeight(const std::string& layer, const Vector& ratios, Vector* done) {
    const auto packed = result_.model.weights.find(layer);
    if (packed != result_.model.weights.end()) {
      *done = ScaleRows(ratios, &packed->second.params);
      return absl::OkStatus();
    }
    const std::string name = ParameterName(layer, "weight");
    const at::Tensor& weight = parameters_.at(name);
    Shape per_row(static_cast<size_t>(weight.dim()), 1);
    per_row[0] = weight.size(0);
    *done = ToVector(ToFloats(ratios));
    return SetParameter(name, weight.mul(ToFloats(ratios).view(per_row)), &result_.model);
  }

  const NetworkMoments& wanted_;
  const Matched matched_;
  const ParameterMap& parameters_;  // before any correction
  FakeQuantHook fake_quant_;
  BiasCorrection& result_;
  Progress progress_;
  absl::Status error_;
};

}  // namespace

std::string WhyNotCorrected(const Layer& layer) {
  const auto* conv = std::get_if<Conv2d>(&layer.op);
  const bool has_bias = conv != nullptr ? conv->bias : std::get<Linear>(layer.op).bias;
  return has_bias ? "" : "it has no bias; a fold step makes one of the batch norm behind it";
}

absl::StatusOr<BiasCorrection> CorrectBiasesAnalytically(const Model& float_model, const NetworkMoments& moments,
                                                         const QuantizedModel& quantized) {
  LOWBIT_RETURN_IF_ERROR(CheckParameters(float_model.graph, float_model.parameters));
  LOWBIT_ASSIGN_OR_RETURN(BiasCorrection result,
                          CatchTorch([&] { return DoAnalytic(float_model, moments, quantized); }));
  LOWBIT_RETURN_IF_ERROR(CheckQuantizedModel(result.model));
  return result;
}

absl::StatusOr<BiasCorrection> CorrectBiasesEmpirically(const Model& float_model, const QuantizedModel& quantized,
                                                        const at::Tensor& images, Matched matched) {
  LOWBIT_ASSIGN_OR_RETURN(const NetworkMoments wanted, FloatMoments(float_model, images));
  LOWBIT_ASSIGN_OR_RETURN(const ParameterMap parameters, FakeQuantParameters(quantized));
  LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(quantized.graph, parameters));
  BiasCorrection result{quantized, {}, {}};
  for (const Layer& layer : quantized.graph.layers()) {
    if (!HasWeight(layer.op)) continue;
    const std::string obstacle = WhyNotCorrected(layer);
    if (!obstacle.empty()) result.skipped.push_back(absl::StrCat(layer.name, ": ", obstacle));
  }
  {
    Corrector corrector(wanted, matched, parameters, &result);
    LOWBIT_RETURN_IF_ERROR(executor.Forward(images, &corrector).status());
    LOWBIT_RETURN_IF_ERROR(corrector.error());
  }
  LOWBIT_RETURN_IF_ERROR(CheckQuantizedModel(result.model));
  return result;
}

}  // namespace lowbit
