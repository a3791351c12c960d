#include "runtime/network_testing.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/random.h"
#include "quant/packing.h"

namespace lowbit {
namespace {

constexpr int64_t kClasses = 5;

// What a layer's weight or output is quantized to; 0 bits: it stays float.
struct Grid {
  int bits = 0;
  bool is_signed = true;
  bool per_channel = false;
  float zero_point = 0;
  std::vector<int32_t> levels;
  std::vector<float> bases;  // of each channel
};

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_({seed}) { layers_.push_back({"input", Input{3, 8, 8}, {}}); }

  // Of the layer that was added last, unless `inputs` says otherwise.
  int Add(const std::string& name, Op op, std::vector<int> inputs = {}) {
    if (inputs.empty()) inputs = {Last()};
    layers_.push_back({name, std::move(op), std::move(inputs)});
    return Last();
  }

  int Last() const { return static_cast<int>(layers_.size()) - 1; }

  // A layer with a weight.
  int AddWeighted(const std::string& name, Op op, const Grid& grid) {
    const int layer = Add(name, std::move(op));
    for (const auto& [parameter, shape] : ParameterShapes(layers_.back().op)) {
      if (parameter == "weight" && grid.bits > 0) {
        weights_[name] = RandomWeight(shape, grid);
      } else {
        const bool positive = parameter == "running_var";
        parameters_[absl::StrCat(name, ".", parameter)] = RandomFloats(shape, positive);
      }
    }
    return layer;
  }

  // The output of the layer that was added last: to [-2, 2], or [0, 4].
  void Quantize(const Grid& grid, double range = 4) { activations_[layers_.back().name] = Params(grid, 1, range); }

  QuantizedModel Finish() {
    auto graph = Graph::Create(std::move(layers_));
    LOWBIT_CHECK(graph.ok(), graph.status().message());
    QuantizedModel model{*std::move(graph), std::move(parameters_), std::move(weights_), std::move(activations_), {}};
    model.metadata["lowbit.mean"] = "0.5,0.5,0.5";
    model.metadata["lowbit.std"] = "0.25,0.25,0.25";
    model.metadata["lowbit.classes"] = "ant\nbee\ncat\ndog\neel";
    return model;
  }

 private:
  // A grid from whose lowest level to the highest it is `range`, or up to a third less.
  QuantParams Params(const Grid& grid, int64_t channels, double range) {
    QuantParams params;
    params.bits = grid.bits;
    params.is_signed = grid.is_signed;
    params.levels = grid.levels;
    double steps = params.qmax() - params.qmin();
    if (!grid.levels.empty()) steps = grid.levels.back() - grid.levels.front();
    if (!grid.bases.empty()) steps = 4;
    for (int64_t c = 0; c < channels; ++c) {
      params.scale.push_back(static_cast<float>(random_.Uniform(0.67, 1) * range / steps));
      params.zero_point.push_back(grid.zero_point);
      params.bases.insert(params.bases.end(), grid.bases.begin(), grid.bases.end());
    }
    return params;
  }

  PackedWeight RandomWeight(const Shape& shape, const Grid& grid) {
    PackedWeight weight;
    weight.shape = shape;
    weight.params = Params(grid, grid.per_channel ? weight.rows() : 1, 0.8);
    std::vector<int32_t> codes(static_cast<size_t>(weight.rows() * weight.row_size()));
    const int32_t low = weight.params.qmin();
    const int32_t high = weight.params.qmax();
    for (int32_t& code : codes) code = low + static_cast<int32_t>(random_.UniformInt(high - low + 1));
    weight.codes = PackCodes(codes, weight.row_size(), grid.bits, low);
    return weight;
  }

  TensorBlob RandomFloats(const Shape& shape, bool positive) {
    TensorBlob blob;
    blob.shape = shape;
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    for (int64_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(random_.Uniform(positive ? 0.1 : -0.5, 0.5));
      char bytes[sizeof(float)];
      std::memcpy(bytes, &value, sizeof(float));
      blob.bytes.append(bytes, sizeof(float));
    }
    return blob;
  }

  Rng random_;
  std::vector<Layer> layers_;
  std::map<std::string, TensorBlob> parameters_;
  std::map<std::string, PackedWeight> weights_;
  std::map<std::string, QuantParams> activations_;
};

Conv2d Conv(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1) {
  Conv2d conv;
  conv.in_channels = in;
  conv.out_channels = out;
  conv.kernel = {kernel, kernel};
  conv.stride = {stride, stride};
  conv.padding = {kernel / 2, kernel / 2};
  conv.bias = true;
  return conv;
}

Grid Bits(int bits, bool is_signed = true, float zero_point = 0) {
  Grid grid;
  grid.bits = bits;
  grid.is_signed = is_signed;
  grid.zero_point = zero_point;
  return grid;
}

// conv1, then a block that halves the image and widens it. With a float shortcut it begins before the activations are
// quantized, as model/passes/split_shortcuts.h has it.
QuantizedModel Residual(const Grid& weight, const Grid& activation, bool float_shortcut = false) {
  Maker maker(1);
  maker.Quantize(Bits(8, true, 3));
  Grid per_channel = weight;
  per_channel.per_channel = true;
  maker.AddWeighted("conv1", Conv(3, 6, 3), per_channel);
  const int stem = maker.Add("relu", Relu{});
  if (float_shortcut) maker.Add("relu.branch", Relu{});
  maker.Quantize(activation);
  maker.AddWeighted("block.conv1", Conv(6, 10, 3, 2), weight);
  maker.Add("block.relu1", Relu{});
  maker.Quantize(activation);
  const int conv = maker.AddWeighted("block.conv2", Conv(10, 10, 3), per_channel);
  maker.Add("block.subsample", Subsample{{2, 2}}, {stem});
  const int shortcut = maker.Add("block.pad", PadChannels{2, 2});
  maker.Add("block.add", Add{}, {conv, shortcut});
  maker.Add("block.relu2", Relu{});
  maker.Quantize(activation);
  maker.Add("pool", GlobalAvgPool{});
  maker.Add("flatten", Flatten{});
  maker.Quantize(Bits(8, false));
  maker.AddWeighted("linear", Linear{10, kClasses, true}, per_channel);
  return maker.Finish();
}

QuantizedModel Affine() {
  Maker maker(2);
  maker.Quantize(Bits(8, false, 120.25f));
  Grid weight = Bits(8, true, 3.5f);
  weight.per_channel = true;
  maker.AddWeighted("conv1", Conv(3, 18, 3), weight);
  maker.Quantize(Bits(8, true, -7));
  Conv2d depthwise = Conv(18, 18, 3);
  depthwise.groups = 18;
  maker.AddWeighted("depthwise", depthwise, weight);
  maker.Quantize(Bits(8, false, 11));
  Conv2d grouped = Conv(18, 12, 3, 2);
  grouped.groups = 3;
  grouped.dilation = {2, 1};
  grouped.padding = {2, 1};
  maker.AddWeighted("grouped", grouped, Bits(8, false, 100));
  maker.Add("relu", Relu{});
  maker.Quantize(Bits(8, false, 0));
  maker.Add("flatten", Flatten{});
  maker.AddWeighted("linear", Linear{12 * 4 * 4, kClasses, true}, weight);
  maker.Quantize(Bits(8));
  return maker.Finish();
}

QuantizedModel Levels() {
  Maker maker(3);
  Grid powers = Bits(3);
  powers.levels = {-16, -8, -2, 0, 2, 8, 16};
  Grid wide = Bits(4);
  wide.levels = {-300, -20, -1, 0, 2, 50, 400};
  Grid bases = Bits(3);
  bases.bases = {0.5f, 0.25f};
  bases.per_channel = true;
  maker.Quantize(Bits(16));
  maker.AddWeighted("conv1", Conv(3, 8, 3), powers);
  maker.Quantize(powers);
  maker.AddWeighted("conv2", Conv(8, 8, 3), powers);
  maker.Add("relu2", Relu{});
  maker.Quantize(wide);
  maker.AddWeighted("conv3", Conv(8, 8, 1, 2), wide);
  maker.Quantize(Bits(5));
  maker.AddWeighted("conv4", Conv(8, 8, 3), bases);
  maker.Quantize(Bits(8));
  maker.Add("pool", GlobalAvgPool{});
  maker.Add("flatten", Flatten{});
  maker.AddWeighted("linear", Linear{8, kClasses, false}, Bits(7));
  return maker.Finish();
}

QuantizedModel Float() {
  Maker maker(4);
  maker.AddWeighted("conv1", Conv(3, 8, 3), Grid());
  maker.AddWeighted("bn1", BatchNorm{8}, Grid());
  maker.Add("relu", Relu{});
  maker.Quantize(Bits(8, false));
  const int pooled = maker.Add("max", MaxPool{{3, 3}, {1, 1}, {1, 1}});
  maker.AddWeighted("conv2", Conv(8, 8, 3), Bits(2));
  maker.Add("add", Add{}, {maker.Last(), pooled});
  maker.Add("average", AvgPool{{2, 2}, {2, 2}, {0, 0}});
  maker.Quantize(Bits(6), 40);
  maker.Add("flatten", Flatten{});
  maker.AddWeighted("linear", Linear{8 * 4 * 4, kClasses, true}, Bits(4));
  return maker.Finish();
}

}  // namespace

const std::vector<std::string>& TinyModelKinds() {
  static const auto* const kinds =
      new std::vector<std::string>{"residual", "float_shortcut", "affine", "levels", "binary", "float"};
  return *kinds;
}

QuantizedModel TinyModel(const std::string& kind) {
  if (kind == "residual") return Residual(Bits(4), Bits(4, false));
  if (kind == "float_shortcut") return Residual(Bits(2), Bits(2, false), /*float_shortcut=*/true);
  if (kind == "affine") return Affine();
  if (kind == "levels") return Levels();
  if (kind == "binary") return Residual(Bits(1, true, -0.5f), Bits(1, false));
  LOWBIT_CHECK(kind == "float", kind);
  return Float();
}

std::string TinyModelBytes(const std::string& kind) {
  const auto bytes = SerializeQuantizedModel(TinyModel(kind));
  LOWBIT_CHECK(bytes.ok(), bytes.status().message());
  return *bytes;
}

std::vector<float> TinyImages(int64_t count, uint64_t seed) {
  Rng random({seed});
  std::vector<float> images;
  for (int64_t i = 0; i < count * 3 * 8 * 8; ++i) images.push_back(static_cast<float>(random.Normal()));
  return images;
}

}  // namespace lowbit
