#include "quant/fake_quant_network.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/activation_codes.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "quant/integer_weight.h"
#include "quant/parallel_for.h"
#include "quant/span_kernels.h"

namespace lowbit {
namespace {

// Whole numbers that a float32 tells from their neighbours are below.
constexpr int64_t kSums = 1 << 24;

// Numbers that are worth a loop, and that one thread takes at a time.
constexpr int64_t kSpan = 512;
constexpr int64_t kChunk = int64_t{1} << 15;

at::Tensor ToTensor(const IntegerWeight& weight, const Shape& shape) {
  const std::vector<float> values(weight.values.begin(), weight.values.end());
  return at::tensor(values).view(shape);
}

// For each output pixel and channel the sum of the inputs in its window, as a convolution's or a linear layer's.
at::Tensor PatchSums(const Op& op, const at::Tensor& x) {
  const auto* const conv = std::get_if<Conv2d>(&op);
  if (conv == nullptr) return x.sum(1, /*keepdim=*/true);
  const at::Tensor ones = at::ones({conv->groups, 1, conv->kernel[0], conv->kernel[1]}, x.options());
  const at::Tensor groups = x.unflatten(1, {conv->groups, conv->in_channels / conv->groups}).sum(2);
  return at::conv2d(groups, ones, {}, conv->stride, conv->padding, conv->dilation, conv->groups)
      .repeat_interleave(conv->groups == 1 ? 1 : conv->out_channels / conv->groups, 1);
}

// y = x * factor + addend, which repeat along x's memory, channels last; if there are `codes`, at once made codes, as
// long as it is in the cache.
at::Tensor MultiplyAdd(const at::Tensor& x, const at::Tensor& factor, const at::Tensor& addend,
                       const QuantParams* codes) {
  at::Tensor y = x.contiguous(x.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
  const int64_t span = factor.numel();
  const int64_t chunk = std::max<int64_t>(1, kChunk / span) * span;
  float* const values = y.data_ptr<float>();
  ParallelFor((y.numel() + chunk - 1) / chunk, [&](int64_t i) {
    const int64_t begin = i * chunk, end = std::min(y.numel(), begin + chunk);
    for (int64_t k = begin; k < end; k += span) {
      MultiplyAddSpan(factor.data_ptr<float>(), addend.data_ptr<float>(), values + k, std::min(span, end - k));
    }
    if (codes == nullptr) return;
    FakeQuantizeSpan(values + begin, values + begin, end - begin, codes->scale[0], codes->zero_point[0], codes->qmin(),
                     codes->qmax(), /*unit=*/1);
  });
  return y;
}

}  // namespace

at::Tensor FakeQuantNetwork::Affine::operator()(const at::Tensor& x) const {
  if (zero_point != 0) return at::sub(x, zero_point).mul_(scale);
  return scale == 1 ? x : at::mul(x, scale);
}

class FakeQuantNetwork::Hook : public LayerHook {
 public:
  Hook(const Graph& graph, const std::vector<LayerPlan>& plans) : graph_(graph), plans_(plans) {}

  at::Tensor OnInput(int layer, int input_index, at::Tensor x) override {
    const LayerPlan& plan = plans_[static_cast<size_t>(layer)];
    if (plan.patch_factor.defined()) patch_sums_ = PatchSums(graph_.layer(layer).op, x);
    return plan.inputs[static_cast<size_t>(input_index)](x);
  }

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    const LayerPlan& plan = plans_[static_cast<size_t>(layer)];
    // What is left of a sum of whole numbers after a division is close enough to tell which sum it was.
    if (plan.pixels > 1) y = at::mul(y, static_cast<double>(plan.pixels)).round_();
    if (plan.factor.defined()) {
      const bool at_once = plan.params.has_value() && plan.params->is_uniform() && plan.in_codes && plan.add == 0 &&
                           !plan.patch_factor.defined();
      y = MultiplyAdd(y, plan.factor, plan.addend, at_once ? &*plan.params : nullptr);
      if (at_once) return y;
    }
    if (plan.patch_factor.defined()) y.add_(patch_sums_.mul(plan.patch_factor));
    if (!plan.params.has_value()) return y;
    if (!plan.in_codes) return FakeQuantizeInPlace(std::move(y), *plan.params);
    y = FakeQuantizeToStepsInPlace(std::move(y), *plan.params);
    return plan.add == 0 ? y : y.add_(plan.add);
  }

 private:
  const Graph& graph_;
  const std::vector<LayerPlan>& plans_;
  at::Tensor patch_sums_;  // of the layer that runs
};

class FakeQuantNetwork::Planner {
 public:
  Planner(const QuantizedModel& model, ParameterMap parameters)
      : model_(model),
        graph_(model.graph),
        parameters_(std::move(parameters)),
        plans_(static_cast<size_t>(graph_.size())),
        codes_(plans_.size()),
        shortcut_(plans_.size(), -1),
        taken_(plans_.size(), false),
        needless_(plans_.size(), false) {}

  absl::StatusOr<FakeQuantNetwork> Run();

 private:
  // Where the sums of a layer go: through an addition and a relu at most.
  struct Chain {
    int tail = 0;
    int add = -1;    // the addition, ...
    int other = -1;  // ... and which of its inputs comes from elsewhere
    bool relu = false;
  };

  LayerPlan& plan(int layer) { return plans_[static_cast<size_t>(layer)]; }
  bool IsQuantized(int layer) const { return model_.activations.count(graph_.layer(layer).name) != 0; }
  // Of what a layer puts out, if that is quantized and has such codes.
  std::optional<ActivationCodes> OwnCodes(int layer) const {
    const auto params = model_.activations.find(graph_.layer(layer).name);
    return params == model_.activations.end() ? std::nullopt : ToActivationCodes(params->second);
  }
  const ActivationCodes* CodesOf(int layer) const {
    const std::optional<ActivationCodes>& codes = codes_[static_cast<size_t>(layer)];
    return codes.has_value() ? &*codes : nullptr;
  }
  int OnlyInput(int layer) const { return graph_.layer(layer).inputs.front(); }

  // What sums of codes are made of.
  struct Sums {
    IntegerWeight weight;      // of a mean: one over the number of its pixels, and that is the scale
    at::Tensor weight_tensor;  // likewise: undefined
    int64_t pixels = 1;
  };

  std::optional<Sums> ExactSums(int layer, const Shape& read, const ActivationCodes& in) const;
  at::Tensor SumsOfZeroPoint(int layer, const Sums& sums, const ActivationCodes& in) const;
  absl::Status PlanSums(int layer);
  absl::StatusOr<Graph> DropRelus();
  Chain Follow(int layer, bool through_add);
  void PlanShortcut(const Chain& chain, double s_out, int64_t channels, std::vector<double>* bias);
  void UseCodes(int layer);

  const QuantizedModel& model_;
  const Graph& graph_;
  ParameterMap parameters_;
  std::vector<LayerPlan> plans_;
  std::vector<std::optional<ActivationCodes>> codes_;  // of what layers put out, once somebody reads codes
  std::vector<int> shortcut_;   // of an addition: the input that PlanShortcut made units of the sums of
  std::vector<bool> taken_;     // by a chain
  std::vector<bool> needless_;  // a relu behind which codes are held between 0 and their highest
};

// Codes of a tensor go through what only moves numbers.
void FakeQuantNetwork::Planner::UseCodes(int layer) {
  if (CodesOf(layer) != nullptr) return;
  if (!IsQuantized(layer)) {
    UseCodes(OnlyInput(layer));
    codes_[static_cast<size_t>(layer)] = codes_[static_cast<size_t>(OnlyInput(layer))];
    return;
  }
  codes_[static_cast<size_t>(layer)] = OwnCodes(layer);
  plan(layer).in_codes = true;
  plan(layer).add = CodesOf(layer)->zero_point;
}

FakeQuantNetwork::Planner::Chain FakeQuantNetwork::Planner::Follow(int layer, bool through_add) {
  Chain chain;
  chain.tail = layer;
  while (!IsQuantized(chain.tail) && graph_.consumers(chain.tail).size() == 1) {
    const int reader = graph_.consumers(chain.tail).front();
    const Layer& read_by = graph_.layer(reader);
    if (taken_[static_cast<size_t>(reader)]) break;
    if (std::holds_alternative<Relu>(read_by.op)) {
      chain.relu = true;
    } else if (std::holds_alternative<Add>(read_by.op) && through_add && !chain.relu && chain.add < 0) {
      chain.add = reader;
      chain.other = read_by.inputs[0] == chain.tail ? 1 : 0;
    } else if (std::holds_alternative<Flatten>(read_by.op)) {
      const Shape& shape = graph_.output_shape(chain.tail);
      if (shape.size() == 3 && shape[1] * shape[2] != 1) break;
    } else {
      break;
    }
    taken_[static_cast<size_t>(reader)] = true;
    chain.tail = reader;
  }
  return chain;
}

// The addition reads codes times their scale over s_out; what their zero point stands for goes into the bias.
void FakeQuantNetwork::Planner::PlanShortcut(const Chain& chain, double s_out, int64_t channels,
                                             std::vector<double>* bias) {
  const int other = graph_.layer(chain.add).inputs[static_cast<size_t>(chain.other)];
  Affine& input = plan(chain.add).inputs[static_cast<size_t>(chain.other)];
  int base = other;
  int64_t before = 0;
  while (!IsQuantized(base) && graph_.consumers(base).size() == 1) {
    const Op& op = graph_.layer(base).op;
    if (const auto* pad = std::get_if<PadChannels>(&op)) {
      before += pad->before;
    } else if (!std::holds_alternative<Subsample>(op)) {
      break;
    }
    base = OnlyInput(base);
  }
  if (!OwnCodes(base).has_value()) {
    input.scale = static_cast<float>(1 / s_out);
    return;
  }
  UseCodes(other);
  shortcut_[static_cast<size_t>(chain.add)] = chain.other;
  const ActivationCodes& codes = *CodesOf(other);
  input.scale = static_cast<float>(codes.scale / s_out);
  const int64_t after = std::min(channels, before + graph_.output_shape(base).front());
  const double zero = static_cast<double>(codes.scale) * static_cast<double>(codes.zero_point);
  for (int64_t c = before; c < after; ++c) (*bias)[static_cast<size_t>(c)] -= zero;
}

// Nothing where a float32 does not hold all sums, or where weights are no whole numbers.
std::optional<FakeQuantNetwork::Planner::Sums> FakeQuantNetwork::Planner::ExactSums(int layer, const Shape& read,
                                                                                    const ActivationCodes& in) const {
  Sums sums;
  if (std::holds_alternative<GlobalAvgPool>(graph_.layer(layer).op)) {
    sums.pixels = read[1] * read[2];
    // A mean is rounded, which must not hide the sum.
    if (4 * in.max_code * sums.pixels >= kSums) return std::nullopt;
    sums.weight.scale.assign(static_cast<size_t>(read[0]), 1 / static_cast<double>(sums.pixels));
    sums.weight.zero_point.assign(static_cast<size_t>(read[0]), 0);
    return sums;
  }
  const auto packed = model_.weights.find(graph_.layer(layer).name);
  std::optional<IntegerWeight> weight;
  if (packed != model_.weights.end()) weight = ToIntegers(packed->second);
  if (!weight.has_value() || !SumsFit(*weight, in.max_code, kSums - 1)) return std::nullopt;
  sums.weight_tensor = ToTensor(*weight, packed->second.shape);
  sums.weight = *std::move(weight);
  return sums;
}

// What an input of zeros comes to, [1, channels]; or [pixels, channels], where padding does not stand for 0.
at::Tensor FakeQuantNetwork::Planner::SumsOfZeroPoint(int layer, const Sums& sums, const ActivationCodes& in) const {
  const int64_t channels = graph_.output_shape(layer).front();
  if (in.zero_point == 0) return at::zeros({1, channels}, at::kDouble);
  if (!sums.weight_tensor.defined()) {
    return at::full({1, channels}, in.zero_point * static_cast<double>(sums.pixels), at::kDouble);
  }
  const at::Tensor weight = sums.weight_tensor.to(at::kDouble);
  const at::Tensor zero_point = at::tensor(sums.weight.zero_point, at::kDouble).unsqueeze(1);
  const at::Tensor steps = weight.flatten(1).sub(zero_point);
  const auto* const conv = std::get_if<Conv2d>(&graph_.layer(layer).op);
  if (conv == nullptr) return steps.sum(1).mul(in.zero_point).unsqueeze(0);
  const Shape& read = graph_.output_shape(OnlyInput(layer));
  const at::Tensor image = at::full({1, read[0], read[1], read[2]}, in.zero_point, at::kDouble);
  return at::conv2d(image, steps.view(weight.sizes()), {}, conv->stride, conv->padding, conv->dilation, conv->groups)
      .flatten(2)
      .squeeze(0)
      .t()
      .contiguous();
}

// Plans a convolution, a linear layer or a global mean of codes. Leaves everything as it is where sums cannot be exact.
absl::Status FakeQuantNetwork::Planner::PlanSums(int layer) {
  int source = OnlyInput(layer);
  while (!IsQuantized(source) && std::holds_alternative<Flatten>(graph_.layer(source).op)) source = OnlyInput(source);
  const std::optional<ActivationCodes> in = OwnCodes(source);
  if (!in.has_value()) return absl::OkStatus();
  const std::optional<Sums> sums = ExactSums(layer, graph_.output_shape(source), *in);
  if (!sums.has_value()) return absl::OkStatus();

  const Chain chain = Follow(layer, /*through_add=*/sums->weight_tensor.defined());
  LayerPlan& tail = plan(chain.tail);
  // Sums are at once made units of the next tensor's scale, with its zero point added, where that has codes one step
  // apart. (A relu as LibTorch has it wants 0 to be 0.)
  ActivationCodes out;
  const std::optional<ActivationCodes> next = OwnCodes(chain.tail);
  if (next.has_value() && tail.params->levels.empty() && (next->zero_point == 0 || !chain.relu)) {
    out = *next;
    UseCodes(chain.tail);
    tail.params->is_signed = false;
    tail.params->scale = {1};
    tail.params->zero_point = {0};
    tail.add = 0;
    needless_[static_cast<size_t>(chain.tail)] = std::holds_alternative<Relu>(graph_.layer(chain.tail).op);
  }
  const std::string& name = graph_.layer(layer).name;
  const int64_t channels = graph_.output_shape(layer).front();
  std::vector<double> bias(static_cast<size_t>(channels), 0);
  const auto given = parameters_.find(ParameterName(name, "bias"));
  if (given != parameters_.end()) {
    bias.assign(given->second.data_ptr<float>(), given->second.data_ptr<float>() + channels);
    given->second = at::zeros({channels}, at::kFloat);
  }
  if (chain.add >= 0) PlanShortcut(chain, out.scale, channels, &bias);
  UseCodes(OnlyInput(layer));
  if (sums->weight_tensor.defined()) parameters_[ParameterName(name, "weight")] = sums->weight_tensor;

  const at::Tensor zeros = SumsOfZeroPoint(layer, *sums, *in);
  const int64_t pixels = zeros.size(0);
  std::vector<float> factor, addend, patch_factor;
  bool has_zero_points = false;
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t o = 0; o < channels; ++o) {
      const size_t c = static_cast<size_t>(o);
      const double scale = sums->weight.scale[c] * in->scale;
      const double zero = zeros.data_ptr<double>()[p * channels + o];
      factor.push_back(static_cast<float>(scale / out.scale));
      addend.push_back(static_cast<float>((bias[c] - scale * zero) / out.scale + out.zero_point));
      if (!std::isfinite(factor.back()) || !std::isfinite(addend.back())) {
        return absl::InvalidArgumentError(
            absl::StrCat("layer \"", name, "\": its scales are too far apart for float32"));
      }
      if (p > 0) continue;
      patch_factor.push_back(static_cast<float>(-scale * sums->weight.zero_point[c] / out.scale));
      has_zero_points = has_zero_points || sums->weight.zero_point[c] != 0;
    }
  }
  const int64_t repeat = pixels == 1 ? std::max<int64_t>(1, kSpan / channels) : 1;
  plan(layer).factor = at::tensor(factor).repeat({repeat});
  plan(layer).addend = at::tensor(addend).repeat({repeat});
  plan(layer).pixels = sums->pixels;
  if (!has_zero_points) return absl::OkStatus();
  std::vector<int64_t> by_channel(graph_.output_shape(layer).size() + 1, 1);
  by_channel[1] = channels;
  plan(layer).patch_factor = at::tensor(patch_factor).view(by_channel);
  return absl::OkStatus();
}

// The graph that is run, and plans_ for it: what becomes of a needless relu's output becomes of its input.
absl::StatusOr<Graph> FakeQuantNetwork::Planner::DropRelus() {
  std::vector<Layer> layers;
  std::vector<LayerPlan> plans;
  std::vector<int> index(plans_.size());  // in the new graph
  for (int i = 0; i < graph_.size(); ++i) {
    int& now = index[static_cast<size_t>(i)];
    if (needless_[static_cast<size_t>(i)]) {
      now = index[static_cast<size_t>(OnlyInput(i))];
      LayerPlan& before = plans[static_cast<size_t>(now)];
      before.params = std::move(plan(i).params);
      before.in_codes = plan(i).in_codes;
      before.add = plan(i).add;
      continue;
    }
    now = static_cast<int>(layers.size());
    layers.push_back(graph_.layer(i));
    for (int& input : layers.back().inputs) input = index[static_cast<size_t>(input)];
    plans.push_back(std::move(plan(i)));
  }
  plans_ = std::move(plans);
  return Graph::Create(std::move(layers));
}

absl::StatusOr<FakeQuantNetwork> FakeQuantNetwork::Planner::Run() {
  for (int i = 0; i < graph_.size(); ++i) {
    plan(i).inputs.resize(graph_.layer(i).inputs.size());
    const auto params = model_.activations.find(graph_.layer(i).name);
    if (params != model_.activations.end()) plan(i).params = params->second;
  }
  for (int i = 0; i < graph_.size(); ++i) {
    const Op& op = graph_.layer(i).op;
    if (HasWeight(op) || std::holds_alternative<GlobalAvgPool>(op)) LOWBIT_RETURN_IF_ERROR(PlanSums(i));
  }
  // Whoever reads codes and is not made for them gets the numbers that they stand for.
  const auto numbers = [&](int layer) {
    const ActivationCodes* const codes = CodesOf(layer);
    if (codes == nullptr) return Affine();
    return Affine{codes->zero_point, codes->scale};
  };
  for (int i = 0; i < graph_.size(); ++i) {
    const bool moves = !IsQuantized(i) && CodesOf(i) != nullptr;
    if (plan(i).factor.defined() || moves) continue;
    for (size_t k = 0; k < plan(i).inputs.size(); ++k) {
      if (shortcut_[static_cast<size_t>(i)] == static_cast<int>(k)) continue;
      const Affine made = numbers(graph_.layer(i).inputs[k]);
      Affine& input = plan(i).inputs[k];
      input = {made.zero_point, made.scale * input.scale};
    }
  }
  const Affine output = numbers(graph_.size() - 1);
  LOWBIT_ASSIGN_OR_RETURN(const Graph graph, DropRelus());
  LOWBIT_ASSIGN_OR_RETURN(Executor executor, Executor::Create(graph, std::move(parameters_)));
  FakeQuantNetwork network(std::move(executor));
  network.plans_ = std::move(plans_);
  network.output_ = output;
  return network;
}

absl::StatusOr<FakeQuantNetwork> FakeQuantNetwork::Create(const QuantizedModel& model) {
  LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(model));
  return Planner(model, std::move(parameters)).Run();
}

absl::StatusOr<at::Tensor> FakeQuantNetwork::Forward(const at::Tensor& images) const {
  Hook hook(executor_.graph(), plans_);
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor y, executor_.Forward(images, &hook));
  return output_(y);
}

bool FakeQuantNetwork::HasExactSums(absl::string_view layer) const {
  const int index = executor_.graph().Find(layer);
  return index >= 0 && plans_[static_cast<size_t>(index)].factor.defined();
}

}  // namespace lowbit
