#include "runtime/plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "quant/activation_codes.h"
#include "quant/integer_weight.h"
#include "quant/packing.h"

namespace lowbit {
namespace {

// Numbers in all tensors of an image, and in the biases of a convolution. More is a mistake, or an attack.
constexpr int64_t kMaxNumbers = int64_t{1} << 28;
// Likewise layers, since some of what follows takes time that grows with their square, ...
constexpr int kMaxLayers = 1 << 14;
// ... and additions to find what the padding of a convolution adds.
constexpr int64_t kMaxBorderWork = int64_t{1} << 31;
// The stride of a shortcut: that of an operation, see model/graph.cc.
constexpr int64_t kMaxStride = int64_t{1} << 31;

absl::Status Invalid(absl::string_view layer, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("layer \"", layer, "\": ", message));
}

std::vector<float> Floats(const TensorBlob& blob) {
  std::vector<float> values(blob.bytes.size() / sizeof(float));
  std::memcpy(values.data(), blob.bytes.data(), values.size() * sizeof(float));
  return values;
}

// [O, C, H, W] -> [O, H, W, C].
template <typename T>
std::vector<T> ChannelsLast(const std::vector<T>& values, const Conv2d& geometry) {
  const int64_t channels = geometry.in_channels / geometry.groups;
  const int64_t taps = geometry.kernel[0] * geometry.kernel[1];
  std::vector<T> moved(values.size());
  for (int64_t o = 0; o < geometry.out_channels; ++o) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        moved[static_cast<size_t>((o * taps + tap) * channels + c)] =
            values[static_cast<size_t>((o * channels + c) * taps + tap)];
      }
    }
  }
  return moved;
}

// Which taps of a window lie inside of the input, for each output row (or column); equal ones have a class.
struct BorderClasses {
  struct Taps {
    int64_t begin = 0;
    int64_t end = 0;
  };
  std::vector<int32_t> of;  // each output row
  std::vector<Taps> taps;   // of each class
};

BorderClasses FindClasses(int64_t outputs, int64_t inputs, int64_t kernel, int64_t stride, int64_t padding,
                          int64_t dilation) {
  BorderClasses classes;
  std::map<std::pair<int64_t, int64_t>, int32_t> known;
  for (int64_t y = 0; y < outputs; ++y) {
    // Tap k lies at k * dilation - before.
    const int64_t before = padding - y * stride;
    const auto first_at = [&](int64_t place) {
      return std::clamp<int64_t>((place + before + dilation - 1) / dilation, 0, kernel);
    };
    BorderClasses::Taps taps;
    if (before + inputs > 0) taps = {first_at(0), first_at(inputs)};
    if (taps.begin == taps.end) taps = {};
    const auto [it, is_new] = known.emplace(std::make_pair(taps.begin, taps.end), static_cast<int32_t>(known.size()));
    if (is_new) classes.taps.push_back(taps);
    classes.of.push_back(it->second);
  }
  return classes;
}

// What v of runtime/plan.h is held between: lower and upper.
std::pair<float, float> Limits(const PlanTensor& out, bool relu) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (!out.is_codes) return {relu ? 0.0f : -kInfinity, kInfinity};
  const float upper = static_cast<float>(out.max_code);
  return {relu ? std::min(std::max(0.0f, out.zero_point), upper) : 0.0f, upper};
}

// Where the sums of a layer go, found by following its readers.
struct Chain {
  int tail = 0;        // the layer whose output it is
  std::string layers;  // "conv2 + add + relu"
  bool relu = false;
  int other = -1;  // the layer that an Add brings in
};

class Planner {
 public:
  explicit Planner(const QuantizedModel& model)
      : model_(model),
        graph_(model.graph),
        tensor_of_(static_cast<size_t>(graph_.size()), -1),
        head_of_(static_cast<size_t>(graph_.size()), -1),
        is_inside_(static_cast<size_t>(graph_.size()), false) {}

  absl::StatusOr<Plan> Run();

 private:
  bool IsQuantized(int layer) const { return model_.activations.count(graph_.layer(layer).name) != 0; }
  // The highest code of what the layer reads, or -1 if that has no codes.
  int32_t MaxCodeRead(int layer) const;
  // The layer whose tensor this one's is, with flattening and the like looked through.
  int Source(int layer) const;
  bool IsAlias(int layer) const;

  void FindChains();
  Chain Follow(int head) const;
  Shortcut FollowShortcut(int layer, int* base) const;
  absl::Status Emit(int layer);
  absl::Status EmitConv(int head);
  absl::StatusOr<ConvOp> MakeConv(int head, const Chain& chain, IntegerWeight weight);
  void EmitFloatConv(int layer);
  absl::Status EmitGlobalMean(int head);
  void EmitPlain(int layer);
  int AddTensor(int layer);
  // The tensor that a step of sums writes: the layer's own, or floats of which its codes are made afterwards.
  int SumsTensor(int layer);
  void FinishSums(int layer, int tensor);
  static void MakeFloats(PlanTensor* tensor);
  void AddStep(int layer, std::string layers, int64_t macs, PlanOp op);

  PlanTensor& tensor(int i) { return plan_.tensors[static_cast<size_t>(i)]; }
  int TensorOf(int layer) const { return tensor_of_[static_cast<size_t>(layer)]; }
  Conv2d Geometry(int layer) const;

  const QuantizedModel& model_;
  const Graph& graph_;
  Plan plan_;
  std::vector<int> tensor_of_;
  std::map<int, Chain> chains_;            // by head
  std::map<int, IntegerWeight> integers_;  // likewise
  std::vector<int> head_of_;               // of the chain that ends at a layer
  std::vector<bool> is_inside_;            // of a chain, or of its shortcut: has no step of its own
};

bool Planner::IsAlias(int layer) const {
  if (IsQuantized(layer) || head_of_[static_cast<size_t>(layer)] >= 0) return false;
  if (!std::holds_alternative<Flatten>(graph_.layer(layer).op)) return false;
  const Shape& shape = graph_.output_shape(graph_.layer(layer).inputs[0]);
  if (shape.size() == 1 || (shape[1] == 1 && shape[2] == 1)) return true;
  // A linear layer reads the pixels where they are.
  for (const int reader : graph_.consumers(layer)) {
    if (!std::holds_alternative<Linear>(graph_.layer(reader).op)) return false;
  }
  return !graph_.consumers(layer).empty();
}

int Planner::Source(int layer) const {
  while (IsAlias(layer)) layer = graph_.layer(layer).inputs[0];
  return layer;
}

int32_t Planner::MaxCodeRead(int layer) const {
  const auto params = model_.activations.find(graph_.layer(Source(graph_.layer(layer).inputs[0])).name);
  if (params == model_.activations.end()) return -1;
  const std::optional<ActivationCodes> codes = ToActivationCodes(params->second);
  return codes.has_value() ? codes->max_code : -1;
}

Conv2d Planner::Geometry(int layer) const {
  const Op& op = graph_.layer(layer).op;
  if (const auto* conv = std::get_if<Conv2d>(&op)) return *conv;
  const auto& linear = std::get<Linear>(op);
  const Shape& read = graph_.output_shape(Source(graph_.layer(layer).inputs[0]));
  Conv2d geometry;
  geometry.in_channels = read[0];
  geometry.out_channels = linear.out_features;
  if (read.size() == 3) geometry.kernel = {read[1], read[2]};
  geometry.bias = linear.bias;
  return geometry;
}

Chain Planner::Follow(int head) const {
  Chain chain;
  chain.tail = head;
  chain.layers = graph_.layer(head).name;
  while (!IsQuantized(chain.tail) && graph_.consumers(chain.tail).size() == 1) {
    const int reader = graph_.consumers(chain.tail)[0];
    if (is_inside_[static_cast<size_t>(reader)] || head_of_[static_cast<size_t>(reader)] >= 0) break;
    const Layer& layer = graph_.layer(reader);
    if (std::holds_alternative<Relu>(layer.op)) {
      chain.relu = true;
    } else if (std::holds_alternative<Add>(layer.op) && !chain.relu && chain.other < 0) {
      chain.other = layer.inputs[0] == chain.tail ? layer.inputs[1] : layer.inputs[0];
    } else if (std::holds_alternative<Flatten>(layer.op)) {
      const Shape& shape = graph_.output_shape(chain.tail);
      if (shape.size() == 3 && shape[1] * shape[2] != 1) break;
    } else {
      break;
    }
    absl::StrAppend(&chain.layers, " + ", layer.name);
    chain.tail = reader;
  }
  return chain;
}

// Subsampling and channels of zeros, in any order, are looked through where nobody else reads them.
Shortcut Planner::FollowShortcut(int layer, int* base) const {
  Shortcut shortcut;
  while (!IsQuantized(layer) && graph_.consumers(layer).size() == 1) {
    const Op& op = graph_.layer(layer).op;
    if (const auto* subsample = std::get_if<Subsample>(&op)) {
      if (shortcut.stride[0] > kMaxStride / subsample->stride[0]) break;
      if (shortcut.stride[1] > kMaxStride / subsample->stride[1]) break;
      shortcut.stride = {shortcut.stride[0] * subsample->stride[0], shortcut.stride[1] * subsample->stride[1]};
    } else if (const auto* pad = std::get_if<PadChannels>(&op)) {
      shortcut.before += pad->before;
    } else {
      break;
    }
    layer = graph_.layer(layer).inputs[0];
  }
  *base = layer;
  return shortcut;
}

void Planner::FindChains() {
  for (int i = 0; i < graph_.size(); ++i) {
    const Op& op = graph_.layer(i).op;
    const bool mean = std::holds_alternative<GlobalAvgPool>(op);
    if (!HasWeight(op) && !mean) continue;
    const int32_t max_code = MaxCodeRead(i);
    if (max_code < 0) continue;
    if (!mean) {
      const auto packed = model_.weights.find(graph_.layer(i).name);
      if (packed == model_.weights.end()) continue;
      std::optional<IntegerWeight> weight = ToIntegers(packed->second);
      if (!weight.has_value() || !SumsFit(*weight, max_code)) continue;
      integers_.emplace(i, *std::move(weight));
    }
    Chain chain = Follow(i);
    if (mean && chain.other >= 0) {  // sums of means take the plain way
      chain = Chain();
      chain.tail = i;
      chain.layers = graph_.layer(i).name;
    }
    for (int inside = i; inside != chain.tail; inside = graph_.consumers(inside)[0]) {
      is_inside_[static_cast<size_t>(inside)] = true;
    }
    if (chain.other >= 0) {
      int base = 0;
      FollowShortcut(chain.other, &base);
      for (int view = chain.other; view != base; view = graph_.layer(view).inputs[0]) {
        is_inside_[static_cast<size_t>(view)] = true;
      }
    }
    head_of_[static_cast<size_t>(chain.tail)] = i;
    chains_.emplace(i, std::move(chain));
  }
}

int Planner::AddTensor(int layer) {
  PlanTensor made;
  made.name = graph_.layer(layer).name;
  const Shape& shape = graph_.output_shape(layer);
  made.channels = shape[0];
  if (shape.size() == 3) {
    made.height = shape[1];
    made.width = shape[2];
  }
  const auto params = model_.activations.find(made.name);
  if (params != model_.activations.end()) {
    made.grid.emplace(params->second, 0);
    made.levels = params->second.levels;
    const std::optional<ActivationCodes> codes = ToActivationCodes(params->second);
    made.is_codes = codes.has_value();
    if (made.is_codes) {
      made.lowest_level = codes->lowest_level;
      made.max_code = codes->max_code;
      made.scale = codes->scale;
      made.zero_point = codes->zero_point;
    }
  }
  plan_.tensors.push_back(std::move(made));
  return static_cast<int>(plan_.tensors.size()) - 1;
}

int Planner::SumsTensor(int layer) {
  const int own = AddTensor(layer);
  if (!tensor(own).is_codes || !tensor(own).levels.empty()) MakeFloats(&tensor(own));
  return own;
}

void Planner::MakeFloats(PlanTensor* tensor) {
  tensor->grid.reset();
  tensor->levels.clear();
  tensor->is_codes = false;
}

void Planner::FinishSums(int layer, int sums) {
  if (!IsQuantized(layer) || tensor(sums).grid.has_value()) {
    tensor_of_[static_cast<size_t>(layer)] = sums;
    return;
  }
  PlainOp make_codes;
  make_codes.op = Input{};
  make_codes.inputs = {sums};
  make_codes.output = AddTensor(layer);
  tensor_of_[static_cast<size_t>(layer)] = make_codes.output;
  AddStep(layer, absl::StrCat(graph_.layer(layer).name, ": codes"), 0, std::move(make_codes));
}

void Planner::AddStep(int layer, std::string layers, int64_t macs, PlanOp op) {
  plan_.steps.push_back({graph_.layer(layer).name, std::move(layers), macs, std::move(op)});
}

absl::StatusOr<ConvOp> Planner::MakeConv(int head, const Chain& chain, IntegerWeight weight) {
  const std::string& name = graph_.layer(head).name;
  ConvOp conv;
  conv.input = TensorOf(Source(graph_.layer(head).inputs[0]));
  conv.geometry = Geometry(head);
  const Conv2d& g = conv.geometry;
  conv.weight = ChannelsLast(weight.values, g);
  if (chain.other >= 0) {
    int base = 0;
    conv.epilogue.shortcut = FollowShortcut(chain.other, &base);
    conv.epilogue.shortcut.tensor = TensorOf(Source(base));
  }
  conv.output = SumsTensor(chain.tail);
  const PlanTensor& in = tensor(conv.input);
  const PlanTensor& out = tensor(conv.output);
  const double s_out = out.is_codes ? out.scale : 1.0;
  const double z_out = out.is_codes ? out.zero_point : 0.0;

  const bool one_class = in.zero_point == 0;
  BorderClasses rows = FindClasses(out.height, in.height, g.kernel[0], g.stride[0], g.padding[0], g.dilation[0]);
  BorderClasses columns = FindClasses(out.width, in.width, g.kernel[1], g.stride[1], g.padding[1], g.dilation[1]);
  if (one_class) {
    for (BorderClasses* classes : {&rows, &columns}) {
      classes->taps.resize(1);
      std::fill(classes->of.begin(), classes->of.end(), 0);
    }
  }
  conv.row_class = rows.of;
  conv.column_class = columns.of;
  conv.column_classes = static_cast<int32_t>(columns.taps.size());
  const int64_t classes = static_cast<int64_t>(rows.taps.size() * columns.taps.size());
  const int64_t window = g.kernel[0] * g.kernel[1];
  if (classes > kMaxNumbers / g.out_channels || (!one_class && classes > kMaxBorderWork / g.out_channels / window)) {
    return Invalid(name, "its padding makes too many kinds of border");
  }

  const int64_t channels = g.in_channels / g.groups;
  const size_t outputs = static_cast<size_t>(g.out_channels);
  std::vector<double> bias(outputs, 0);
  const auto given = model_.parameters.find(absl::StrCat(name, ".bias"));
  if (given != model_.parameters.end()) {
    const std::vector<float> floats = Floats(given->second);
    bias.assign(floats.begin(), floats.end());
  }
  const Shortcut& shortcut = conv.epilogue.shortcut;
  if (shortcut.tensor >= 0) {
    const PlanTensor& read = tensor(shortcut.tensor);
    const double scale = read.is_codes ? read.scale : 1.0;
    conv.epilogue.shortcut.multiplier = static_cast<float>(scale / s_out);
    if (read.is_codes) {
      for (int64_t c = 0; c < read.channels; ++c) {
        bias[static_cast<size_t>(shortcut.before + c)] -= scale * static_cast<double>(read.zero_point);
      }
    }
  }
  conv.epilogue.bias.resize(static_cast<size_t>(classes) * outputs);
  bool has_zero_points = false;
  for (size_t o = 0; o < outputs; ++o) {
    const double scale = weight.scale[o] * static_cast<double>(in.scale);
    conv.epilogue.multiplier.push_back(static_cast<float>(scale / s_out));
    conv.epilogue.patch_multiplier.push_back(static_cast<float>(-scale * weight.zero_point[o] / s_out));
    has_zero_points = has_zero_points || weight.zero_point[o] != 0;
    // Of each tap, summed over the channels: w - zero_point.
    std::vector<double> taps(static_cast<size_t>(g.kernel[0] * g.kernel[1]), 0);
    for (size_t tap = 0; tap < taps.size(); ++tap) {
      for (int64_t c = 0; c < channels; ++c) {
        taps[tap] += conv.weight[(o * taps.size() + tap) * static_cast<size_t>(channels) + static_cast<size_t>(c)] -
                     weight.zero_point[o];
      }
    }
    for (size_t r = 0; r < rows.taps.size(); ++r) {
      for (size_t k = 0; k < columns.taps.size(); ++k) {
        double inside = 0;
        if (!one_class) {
          for (int64_t y = rows.taps[r].begin; y < rows.taps[r].end; ++y) {
            for (int64_t x = columns.taps[k].begin; x < columns.taps[k].end; ++x) {
              inside += taps[static_cast<size_t>(y * g.kernel[1] + x)];
            }
          }
        }
        const double value = (bias[o] - scale * static_cast<double>(in.zero_point) * inside) / s_out + z_out;
        conv.epilogue.bias[(r * columns.taps.size() + k) * outputs + o] = static_cast<float>(value);
      }
    }
  }
  if (!has_zero_points) conv.epilogue.patch_multiplier.clear();
  std::tie(conv.epilogue.lower, conv.epilogue.upper) = Limits(out, chain.relu);
  for (const std::vector<float>* numbers :
       {&conv.epilogue.multiplier, &conv.epilogue.patch_multiplier, &conv.epilogue.bias}) {
    for (const float number : *numbers) {
      if (!std::isfinite(number)) return Invalid(name, "its scales are too far apart for float32");
    }
  }
  if (!std::isfinite(shortcut.multiplier)) return Invalid(name, "its shortcut's scale is too large for float32");
  return conv;
}

absl::Status Planner::EmitConv(int head) {
  const Chain& chain = chains_.at(head);
  LOWBIT_ASSIGN_OR_RETURN(ConvOp conv, MakeConv(head, chain, std::move(integers_.at(head))));
  const int sums = conv.output;
  AddStep(chain.tail, chain.layers, Macs(graph_.layer(head).op, graph_.output_shape(head)), std::move(conv));
  FinishSums(chain.tail, sums);
  return absl::OkStatus();
}

absl::Status Planner::EmitGlobalMean(int head) {
  const Chain& chain = chains_.at(head);
  GlobalMeanOp mean;
  mean.input = TensorOf(Source(graph_.layer(head).inputs[0]));
  mean.output = SumsTensor(chain.tail);
  const PlanTensor& in = tensor(mean.input);
  const PlanTensor& out = tensor(mean.output);
  const double s_out = out.is_codes ? out.scale : 1.0;
  const double z_out = out.is_codes ? out.zero_point : 0.0;
  const double scale = static_cast<double>(in.scale) / s_out;
  mean.multiplier = static_cast<float>(scale / static_cast<double>(in.height * in.width));
  mean.bias = static_cast<float>(z_out - scale * static_cast<double>(in.zero_point));
  std::tie(mean.lower, mean.upper) = Limits(out, chain.relu);
  if (!std::isfinite(mean.multiplier) || !std::isfinite(mean.bias)) {
    return Invalid(graph_.layer(head).name, "its scales are too far apart for float32");
  }
  const int sums = mean.output;
  AddStep(chain.tail, chain.layers, 0, std::move(mean));
  FinishSums(chain.tail, sums);
  return absl::OkStatus();
}

void Planner::EmitFloatConv(int layer) {
  const std::string& name = graph_.layer(layer).name;
  FloatConvOp conv;
  conv.input = TensorOf(Source(graph_.layer(layer).inputs[0]));
  conv.geometry = Geometry(layer);
  std::vector<float> weight;
  const auto packed = model_.weights.find(name);
  if (packed == model_.weights.end()) {
    weight = Floats(model_.parameters.at(absl::StrCat(name, ".weight")));
  } else {
    const size_t row = static_cast<size_t>(packed->second.row_size());
    std::vector<int32_t> codes(static_cast<size_t>(packed->second.rows()) * row);
    UnpackCodes(packed->second.codes, packed->second.row_size(), packed->second.params.bits,
                packed->second.params.qmin(), absl::MakeSpan(codes));
    for (size_t o = 0; o < static_cast<size_t>(packed->second.rows()); ++o) {
      const ChannelGrid grid(packed->second.params, o);
      for (size_t i = 0; i < row; ++i) weight.push_back(grid.Dequantize(codes[o * row + i]));
    }
  }
  conv.weight = ChannelsLast(weight, conv.geometry);
  conv.bias.assign(static_cast<size_t>(conv.geometry.out_channels), 0);
  const auto bias = model_.parameters.find(absl::StrCat(name, ".bias"));
  if (bias != model_.parameters.end()) conv.bias = Floats(bias->second);
  conv.output = AddTensor(layer);
  MakeFloats(&tensor(conv.output));  // codes are made of them in a step of their own
  const int sums = conv.output;
  AddStep(layer, name, Macs(graph_.layer(layer).op, graph_.output_shape(layer)), std::move(conv));
  FinishSums(layer, sums);
}

void Planner::EmitPlain(int layer) {
  const Layer& made = graph_.layer(layer);
  PlainOp plain;
  plain.op = made.op;
  for (const int input : made.inputs) plain.inputs.push_back(TensorOf(Source(input)));
  if (std::holds_alternative<Input>(made.op)) plain.inputs = {0};
  if (const auto* norm = std::get_if<BatchNorm>(&made.op)) {
    const auto number = [&](const char* parameter) {
      return Floats(model_.parameters.at(absl::StrCat(made.name, ".", parameter)));
    };
    const std::vector<float> weight = number("weight"), bias = number("bias"), mean = number("running_mean"),
                             var = number("running_var");
    for (size_t c = 0; c < weight.size(); ++c) {
      const double factor = weight[c] / std::sqrt(static_cast<double>(var[c]) + norm->eps);
      plain.multiplier.push_back(static_cast<float>(factor));
      plain.bias.push_back(static_cast<float>(bias[c] - mean[c] * factor));
    }
  }
  plain.output = AddTensor(layer);
  tensor_of_[static_cast<size_t>(layer)] = plain.output;
  AddStep(layer, made.name, 0, std::move(plain));
}

absl::Status Planner::Emit(int layer) {
  const size_t i = static_cast<size_t>(layer);
  if (head_of_[i] >= 0) {
    const bool mean = std::holds_alternative<GlobalAvgPool>(graph_.layer(head_of_[i]).op);
    return mean ? EmitGlobalMean(head_of_[i]) : EmitConv(head_of_[i]);
  }
  if (is_inside_[i] || IsAlias(layer)) return absl::OkStatus();
  if (HasWeight(graph_.layer(layer).op)) {
    EmitFloatConv(layer);
  } else if (layer > 0 || IsQuantized(layer)) {
    EmitPlain(layer);
  }
  return absl::OkStatus();
}

absl::StatusOr<Plan> Planner::Run() {
  if (graph_.size() > kMaxLayers) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxLayers, " layers: ", graph_.size()));
  }
  int64_t numbers = 0;
  for (int i = 0; i < graph_.size(); ++i) {
    int64_t size = 1;
    for (const int64_t extent : graph_.output_shape(i)) {
      if (extent > kMaxNumbers / size) return Invalid(graph_.layer(i).name, "its output is absurdly large");
      size *= extent;
    }
    numbers += size;
    if (numbers > kMaxNumbers) return Invalid(graph_.layer(i).name, "all outputs up to here are absurdly large");
  }
  FindChains();
  PlanTensor images;
  images.name = graph_.layer(0).name;
  images.channels = graph_.input_shape()[0];
  images.height = graph_.input_shape()[1];
  images.width = graph_.input_shape()[2];
  plan_.tensors.push_back(std::move(images));
  tensor_of_[0] = 0;
  for (int i = 0; i < graph_.size(); ++i) LOWBIT_RETURN_IF_ERROR(Emit(i));
  plan_.output = TensorOf(Source(graph_.size() - 1));
  return std::move(plan_);
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const QuantizedModel& model) {
  LOWBIT_RETURN_IF_ERROR(CheckQuantizedModel(model));
  return Planner(model).Run();
}

}  // namespace lowbit
