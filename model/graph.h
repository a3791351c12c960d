#ifndef LOWBIT_MODEL_GRAPH_H_
#define LOWBIT_MODEL_GRAPH_H_

// The network as a value: layers in topological order, immutable once created. Knows shapes, not numbers (those are
// in a ParameterMap, parameters.h), and no tensor library, so that the runtime can use it without LibTorch.

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lowbit {

// (height, width), always in this order.
using Pair = std::array<int64_t, 2>;

// The shape of a tensor without its batch dimension: {channels, height, width}, or {features}.
using Shape = std::vector<int64_t>;

// The operations. Tensors are [N, C, H, W] or [N, F]; an operation takes one input unless it says otherwise.

// The images. Takes no input.
struct Input {
  int64_t channels = 0;
  int64_t height = 0;
  int64_t width = 0;
};

// Cross-correlation with zero padding. Weight [out_channels, in_channels / groups, kernel h, kernel w], bias
// [out_channels].
struct Conv2d {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  Pair kernel{1, 1};
  Pair stride{1, 1};
  Pair padding{0, 0};
  Pair dilation{1, 1};
  int64_t groups = 1;
  bool bias = false;
};

// y = x W^T + b on [N, in_features]. Weight [out_features, in_features], bias [out_features].
struct Linear {
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool bias = true;
};

// Per channel: (x - mean) / sqrt(var + eps) * weight + bias. In training mean and var are those of the batch, and
// running = (1 - momentum) * running + momentum * batch (var: the unbiased one).
struct BatchNorm {
  int64_t channels = 0;
  double eps = 1e-5;
  double momentum = 0.1;
};

struct Relu {};

// Two inputs of the same shape.
struct Add {};

// [C, H, W] -> [C, 1, 1].
struct GlobalAvgPool {};

// [C, H, W] -> [C * H * W].
struct Flatten {};

// Zero padding counts in the average, as it does by default in PyTorch. Output size is rounded down.
struct AvgPool {
  Pair kernel{1, 1};
  Pair stride{1, 1};
  Pair padding{0, 0};
};

// Padding is minus infinity. Output size is rounded down.
struct MaxPool {
  Pair kernel{1, 1};
  Pair stride{1, 1};
  Pair padding{0, 0};
};

// x[:, :, ::stride h, ::stride w]: with PadChannels the parameter-free ("option A") shortcut of He et al.
struct Subsample {
  Pair stride{1, 1};
};

// Zero channels before and after the given ones.
struct PadChannels {
  int64_t before = 0;
  int64_t after = 0;
};

using Op = std::variant<Input, Conv2d, Linear, BatchNorm, Relu, Add, GlobalAvgPool, Flatten, AvgPool, MaxPool,
                        Subsample, PadChannels>;

struct Layer {
  std::string name;
  Op op;
  std::vector<int> inputs;  // Indices of earlier layers.
};

class Graph {
 public:
  // Checks everything that the rest of the code takes for granted: names unique and not empty, exactly one Input and
  // it comes first, every input index earlier than its reader, the last layer the only one that nobody reads, every
  // shape positive and agreeing with its neighbour's. InvalidArgument naming the layer otherwise.
  static absl::StatusOr<Graph> Create(std::vector<Layer> layers);

  int size() const { return static_cast<int>(layers_.size()); }
  const Layer& layer(int i) const { return layers_[static_cast<size_t>(i)]; }
  const std::vector<Layer>& layers() const { return layers_; }

  // Without the batch dimension.
  const Shape& output_shape(int i) const { return shapes_[static_cast<size_t>(i)]; }
  const Shape& input_shape() const { return shapes_.front(); }

  // The layers that read layer i's output, ascending; one that reads it twice is there twice. Empty for the last layer.
  const std::vector<int>& consumers(int i) const { return consumers_[static_cast<size_t>(i)]; }

  // Index of the layer of this name, or -1.
  int Find(absl::string_view name) const;

 private:
  Graph() = default;

  std::vector<Layer> layers_;
  std::vector<Shape> shapes_;
  std::vector<std::vector<int>> consumers_;
  std::map<std::string, int> by_name_;
};

// "Conv2d", "Linear", ...: the name of the struct.
absl::string_view OpName(const Op& op);

// Whether the operation is a matrix product with a weight that can be quantized: Conv2d and Linear.
bool HasWeight(const Op& op);

// Parameters of the layer by the last part of their name ("weight", "bias", "running_mean", "running_var") with shape.
std::map<std::string, Shape> ParameterShapes(const Op& op);

// Trainable numbers: weights, biases, batch norm's affine pair; not running statistics.
int64_t ParameterCount(const Op& op);

// Multiply-accumulates per image of convolutions and linear layers; 0 for everything else.
int64_t Macs(const Op& op, const Shape& output_shape);

// Both summed over the layers.
int64_t ParameterCount(const Graph& graph);
int64_t Macs(const Graph& graph);

// "[3, 32, 32]".
std::string ShapeToString(const Shape& shape);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_GRAPH_H_
