#include "model/graph.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace lowbit {
namespace {

absl::Status LayerError(const Layer& layer, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("layer \"", layer.name, "\" (", OpName(layer.op), "): ", message));
}

std::string PairToString(const Pair& pair) { return absl::StrCat(pair[0], "x", pair[1]); }

bool AllAtLeast(const Pair& pair, int64_t minimum) { return pair[0] >= minimum && pair[1] >= minimum; }

// No number of an operation and no tensor (an activation of one image, a weight) may exceed this. A graph may come from
// a file: sums of such numbers and products of two such tensors' sizes (Macs) stay within 64 bits.
constexpr int64_t kMaxElements = int64_t{1} << 31;

// The largest of the numbers that an operation's output shape is calculated from.
struct LargestNumber {
  static int64_t Largest(const Pair& pair) { return std::max(pair[0], pair[1]); }

  int64_t operator()(const Input& op) const { return std::max({op.channels, op.height, op.width}); }
  int64_t operator()(const Conv2d& op) const {
    return std::max({op.in_channels, op.out_channels, Largest(op.kernel), Largest(op.stride), Largest(op.padding),
                     Largest(op.dilation), op.groups});
  }
  int64_t operator()(const Linear& op) const { return std::max(op.in_features, op.out_features); }
  int64_t operator()(const AvgPool& op) const { return Pool(op); }
  int64_t operator()(const MaxPool& op) const { return Pool(op); }
  int64_t operator()(const Subsample& op) const { return Largest(op.stride); }
  int64_t operator()(const PadChannels& op) const { return std::max(op.before, op.after); }
  template <typename Other>
  int64_t operator()(const Other&) const {
    return 0;
  }

  template <typename PoolOp>
  static int64_t Pool(const PoolOp& op) {
    return std::max({Largest(op.kernel), Largest(op.stride), Largest(op.padding)});
  }
};

// For a shape whose dimensions are all positive.
absl::Status CheckSize(absl::string_view what, const Shape& shape) {
  int64_t size = 1;
  for (int64_t dimension : shape) {
    if (dimension > kMaxElements / size) {
      return absl::InvalidArgumentError(
          absl::StrCat("its ", what, " of shape ", ShapeToString(shape), " has more than ", kMaxElements, " elements"));
    }
    size *= dimension;
  }
  return absl::OkStatus();
}

// The checks of one layer given its inputs' shapes: returns the output shape or what is wrong, without the layer's
// name.
struct InferShape {
  const std::vector<const Shape*>& inputs;

  const Shape& x() const { return *inputs[0]; }

  static absl::Status Error(absl::string_view message) { return absl::InvalidArgumentError(std::string(message)); }

  absl::Status WantImage() const {
    if (x().size() == 3) return absl::OkStatus();
    return Error(absl::StrCat("needs an input of shape [channels, height, width], got ", ShapeToString(x())));
  }

  absl::Status WantChannels(int64_t channels) const {
    if (x()[0] == channels) return absl::OkStatus();
    return Error(absl::StrCat("is for ", channels, " channels but its input has shape ", ShapeToString(x())));
  }

  // Height and width after sliding a window with this reach (dilation included) over the padded input.
  absl::StatusOr<Shape> Slide(int64_t channels, const Pair& reach, const Pair& stride, const Pair& padding) const {
    Shape out = {channels, 0, 0};
    for (size_t i = 0; i < 2; ++i) {
      const int64_t room = x()[i + 1] + 2 * padding[i] - reach[i];
      if (room < 0) {
        return Error(absl::StrCat("its window of ", PairToString(reach), " is larger than its input ",
                                  ShapeToString(x()), " with padding ", PairToString(padding)));
      }
      out[i + 1] = room / stride[i] + 1;
    }
    return out;
  }

  absl::StatusOr<Shape> operator()(const Input& op) const {
    if (op.channels < 1 || op.height < 1 || op.width < 1) {
      return Error(
          absl::StrCat("every dimension must be at least 1, got ", ShapeToString({op.channels, op.height, op.width})));
    }
    return Shape{op.channels, op.height, op.width};
  }

  absl::StatusOr<Shape> operator()(const Conv2d& op) const {
    LOWBIT_RETURN_IF_ERROR(WantImage());
    if (op.in_channels < 1 || op.out_channels < 1) {
      return Error(
          absl::StrCat("channels must be at least 1, got ", op.in_channels, " in and ", op.out_channels, " out"));
    }
    LOWBIT_RETURN_IF_ERROR(WantChannels(op.in_channels));
    if (!AllAtLeast(op.kernel, 1))
      return Error(absl::StrCat("kernel must be at least 1x1, got ", PairToString(op.kernel)));
    if (!AllAtLeast(op.stride, 1))
      return Error(absl::StrCat("stride must be at least 1x1, got ", PairToString(op.stride)));
    if (!AllAtLeast(op.padding, 0)) {
      return Error(absl::StrCat("padding must not be negative, got ", PairToString(op.padding)));
    }
    if (!AllAtLeast(op.dilation, 1)) {
      return Error(absl::StrCat("dilation must be at least 1x1, got ", PairToString(op.dilation)));
    }
    if (op.groups < 1 || op.in_channels % op.groups != 0 || op.out_channels % op.groups != 0) {
      return Error(absl::StrCat("groups must divide the ", op.in_channels, " input and ", op.out_channels,
                                " output channels, got ", op.groups));
    }
    const Pair reach = {op.dilation[0] * (op.kernel[0] - 1) + 1, op.dilation[1] * (op.kernel[1] - 1) + 1};
    return Slide(op.out_channels, reach, op.stride, op.padding);
  }

  absl::StatusOr<Shape> operator()(const Linear& op) const {
    if (op.in_features < 1 || op.out_features < 1) {
      return Error(
          absl::StrCat("features must be at least 1, got ", op.in_features, " in and ", op.out_features, " out"));
    }
    if (x() != Shape{op.in_features}) {
      return Error(absl::StrCat("needs an input of shape [", op.in_features, "], got ", ShapeToString(x())));
    }
    return Shape{op.out_features};
  }

  absl::StatusOr<Shape> operator()(const BatchNorm& op) const {
    LOWBIT_RETURN_IF_ERROR(WantChannels(op.channels));
    if (!(op.eps >= 0)) return Error(absl::StrCat("eps must not be negative, got ", op.eps));
    if (!(op.momentum >= 0 && op.momentum <= 1)) {
      return Error(absl::StrCat("momentum must be in [0, 1], got ", op.momentum));
    }
    return x();
  }

  absl::StatusOr<Shape> operator()(const Relu&) const { return x(); }

  absl::StatusOr<Shape> operator()(const Add&) const {
    if (*inputs[0] != *inputs[1]) {
      return Error(absl::StrCat("its inputs have different shapes ", ShapeToString(*inputs[0]), " and ",
                                ShapeToString(*inputs[1])));
    }
    return x();
  }

  absl::StatusOr<Shape> operator()(const GlobalAvgPool&) const {
    LOWBIT_RETURN_IF_ERROR(WantImage());
    return Shape{x()[0], 1, 1};
  }

  absl::StatusOr<Shape> operator()(const Flatten&) const {
    int64_t features = 1;
    for (int64_t dimension : x()) features *= dimension;
    return Shape{features};
  }

  template <typename PoolOp>
  absl::StatusOr<Shape> Pool(const PoolOp& op) const {
    LOWBIT_RETURN_IF_ERROR(WantImage());
    if (!AllAtLeast(op.kernel, 1))
      return Error(absl::StrCat("kernel must be at least 1x1, got ", PairToString(op.kernel)));
    if (!AllAtLeast(op.stride, 1))
      return Error(absl::StrCat("stride must be at least 1x1, got ", PairToString(op.stride)));
    // More padding than that makes windows that see nothing but padding.
    for (size_t i = 0; i < 2; ++i) {
      if (op.padding[i] < 0 || op.padding[i] > op.kernel[i] / 2) {
        return Error(absl::StrCat("padding must be between 0 and half the kernel of ", PairToString(op.kernel),
                                  ", got ", PairToString(op.padding)));
      }
    }
    return Slide(x()[0], op.kernel, op.stride, op.padding);
  }

  absl::StatusOr<Shape> operator()(const AvgPool& op) const { return Pool(op); }
  absl::StatusOr<Shape> operator()(const MaxPool& op) const { return Pool(op); }

  absl::StatusOr<Shape> operator()(const Subsample& op) const {
    LOWBIT_RETURN_IF_ERROR(WantImage());
    if (!AllAtLeast(op.stride, 1))
      return Error(absl::StrCat("stride must be at least 1x1, got ", PairToString(op.stride)));
    return Slide(x()[0], {1, 1}, op.stride, {0, 0});
  }

  absl::StatusOr<Shape> operator()(const PadChannels& op) const {
    LOWBIT_RETURN_IF_ERROR(WantImage());
    if (op.before < 0 || op.after < 0) {
      return Error(
          absl::StrCat("channel counts must not be negative, got ", op.before, " before and ", op.after, " after"));
    }
    return Shape{x()[0] + op.before + op.after, x()[1], x()[2]};
  }
};

// The output shape of an operation, or what is wrong with it, without the layer's name.
absl::StatusOr<Shape> OutputShape(const Op& op, const std::vector<const Shape*>& inputs) {
  const int64_t largest = std::visit(LargestNumber{}, op);
  if (largest > kMaxElements) {
    return absl::InvalidArgumentError(absl::StrCat("numbers must be at most ", kMaxElements, ", got ", largest));
  }
  LOWBIT_ASSIGN_OR_RETURN(Shape shape, std::visit(InferShape{inputs}, op));
  LOWBIT_RETURN_IF_ERROR(CheckSize("output", shape));
  for (const auto& [name, parameter] : ParameterShapes(op)) LOWBIT_RETURN_IF_ERROR(CheckSize(name, parameter));
  return shape;
}

size_t InputCount(const Op& op) {
  if (std::holds_alternative<Input>(op)) return 0;
  return std::holds_alternative<Add>(op) ? 2 : 1;
}

}  // namespace

absl::StatusOr<Graph> Graph::Create(std::vector<Layer> layers) {
  if (layers.empty()) return absl::InvalidArgumentError("a graph needs at least one layer");
  Graph graph;
  graph.consumers_.resize(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    const int index = static_cast<int>(i);
    if (layer.name.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", i, " (", OpName(layer.op), ") has no name"));
    }
    if (!graph.by_name_.emplace(layer.name, index).second) {
      return LayerError(layer, "another layer has the same name");
    }
    if (std::holds_alternative<Input>(layer.op) != (i == 0)) {
      return LayerError(layer, i == 0 ? "the first layer must be an Input" : "only the first layer may be an Input");
    }
    if (layer.inputs.size() != InputCount(layer.op)) {
      return LayerError(layer, absl::StrCat("needs ", InputCount(layer.op), " inputs, got ", layer.inputs.size()));
    }
    std::vector<const Shape*> shapes;
    for (int input : layer.inputs) {
      if (input < 0 || input >= index) {
        return LayerError(layer,
                          absl::StrCat("input index ", input, " is not that of an earlier layer; it is layer ", i));
      }
      shapes.push_back(&graph.shapes_[static_cast<size_t>(input)]);
      graph.consumers_[static_cast<size_t>(input)].push_back(index);
    }
    absl::StatusOr<Shape> shape = OutputShape(layer.op, shapes);
    if (!shape.ok()) return LayerError(layer, shape.status().message());
    graph.shapes_.push_back(*std::move(shape));
  }
  for (size_t i = 0; i + 1 < layers.size(); ++i) {
    if (graph.consumers_[i].empty()) return LayerError(layers[i], "nobody reads it and it is not the last layer");
  }
  graph.layers_ = std::move(layers);
  return graph;
}

int Graph::Find(absl::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  return it == by_name_.end() ? -1 : it->second;
}

absl::string_view OpName(const Op& op) {
  static constexpr const char* kNames[] = {"Input",   "Conv2d",  "Linear",        "BatchNorm",
                                           "Relu",    "Add",     "GlobalAvgPool", "Flatten",
                                           "AvgPool", "MaxPool", "Subsample",     "PadChannels"};
  static_assert(std::variant_size_v<Op> == sizeof(kNames) / sizeof(kNames[0]), "one name per operation");
  return kNames[op.index()];
}

bool HasWeight(const Op& op) { return std::holds_alternative<Conv2d>(op) || std::holds_alternative<Linear>(op); }

std::map<std::string, Shape> ParameterShapes(const Op& op) {
  std::map<std::string, Shape> shapes;
  if (const auto* conv = std::get_if<Conv2d>(&op)) {
    shapes["weight"] = {conv->out_channels, conv->in_channels / conv->groups, conv->kernel[0], conv->kernel[1]};
    if (conv->bias) shapes["bias"] = {conv->out_channels};
  } else if (const auto* linear = std::get_if<Linear>(&op)) {
    shapes["weight"] = {linear->out_features, linear->in_features};
    if (linear->bias) shapes["bias"] = {linear->out_features};
  } else if (const auto* norm = std::get_if<BatchNorm>(&op)) {
    for (const char* name : {"weight", "bias", "running_mean", "running_var"}) shapes[name] = {norm->channels};
  }
  return shapes;
}

int64_t ParameterCount(const Op& op) {
  int64_t count = 0;
  for (const auto& [name, shape] : ParameterShapes(op)) {
    if (name != "weight" && name != "bias") continue;
    int64_t size = 1;
    for (int64_t dimension : shape) size *= dimension;
    count += size;
  }
  return count;
}

int64_t Macs(const Op& op, const Shape& output_shape) {
  if (const auto* conv = std::get_if<Conv2d>(&op)) {
    int64_t outputs = 1;
    for (int64_t dimension : output_shape) outputs *= dimension;
    return outputs * (conv->in_channels / conv->groups) * conv->kernel[0] * conv->kernel[1];
  }
  if (const auto* linear = std::get_if<Linear>(&op)) return linear->in_features * linear->out_features;
  return 0;
}

int64_t ParameterCount(const Graph& graph) {
  int64_t count = 0;
  for (const Layer& layer : graph.layers()) count += ParameterCount(layer.op);
  return count;
}

int64_t Macs(const Graph& graph) {
  int64_t macs = 0;
  for (int i = 0; i < graph.size(); ++i) macs += Macs(graph.layer(i).op, graph.output_shape(i));
  return macs;
}

std::string ShapeToString(const Shape& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

}  // namespace lowbit
