#ifndef LOWBIT_RUNTIME_PLAN_H_
#define LOWBIT_RUNTIME_PLAN_H_

// What an integer network does, in full: which tensors there are, what stands in them, and the operations in order with
// every constant that they need. docs/numerics.md, "The integer engine", is its arithmetic in words; runtime/reference
// computes it as plainly as can be, and the kernels must put out the same bits.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/channel_grid.h"
#include "quant/quantized_model.h"

namespace lowbit {

// One image's worth of a tensor, [height, width, channels] in memory; features are 1 x 1 pixel.
struct PlanTensor {
  std::string name;  // of the layer that puts it out
  int64_t channels = 0;
  int64_t height = 1;
  int64_t width = 1;

  // Codes, one unsigned byte each: x ~ scale * (u - zero_point), u in [0, max_code]. Else floats.
  bool is_codes = false;
  float scale = 1;
  float zero_point = 0;
  int32_t max_code = 0;

  // Of every tensor that is quantized, codes or not (16 bits, say, stay floats, which take the grid's values only).
  // What stands in a tensor of codes is u = level(q) - lowest_level, level(q) = q on a uniform grid.
  std::optional<ChannelGrid> grid;
  std::vector<int32_t> levels;  // by q - qmin; empty on a uniform grid
  int32_t lowest_level = 0;

  int64_t size() const { return channels * height * width; }
};

// x of a shortcut that reads every stride-th pixel of a tensor and has `before` channels of zeros ahead of its own.
struct Shortcut {
  int tensor = -1;  // -1: there is none
  std::array<int64_t, 2> stride{1, 1};
  int64_t before = 0;
  float multiplier = 0;  // of the code or float that is read
};

// What becomes of a sum, in float32, one rounding an operation, none fused, in this order:
//
//   v = sum * multiplier[o] + bias[class][o]
//   v = v + patch_sum * patch_multiplier[o]         where weights have zero points
//   v = v + shortcut * shortcut.multiplier          where there is one and it has this channel
//   codes:  u = round_half_to_even(min(max(v, lower), upper))
//   floats: max(v, lower)
//
// v is in units of the output's scale with its zero point added, where that holds codes.
struct Epilogue {
  std::vector<float> multiplier;
  std::vector<float> patch_multiplier;  // empty: all 0
  std::vector<float> bias;              // [classes, out_channels]
  Shortcut shortcut;
  float lower = 0;
  float upper = 0;
};

// sum[o] = sum of weight * u over the window, u = 0 in the padding; a linear layer is the convolution whose window is
// its whole input. 32-bit integers hold every sum.
struct ConvOp {
  int input = 0;
  int output = 0;
  Conv2d geometry;
  std::vector<int8_t> weight;  // [out_channels, kernel h, kernel w, in_channels / groups]
  Epilogue epilogue;
  // Where the padding does not stand for 0, what it adds differs along the border: pixel (y, x) is of the class
  // row_class[y] * columns + column_class[x], columns being the number of column classes.
  std::vector<int32_t> row_class;
  std::vector<int32_t> column_class;
  int32_t column_classes = 1;

  int32_t BiasClass(int64_t y, int64_t x) const {
    return row_class[static_cast<size_t>(y)] * column_classes + column_class[static_cast<size_t>(x)];
  }
};

// The same layers where weight or input are not integers of 8 bits: sums in float32, of tap after tap and channel after
// channel, then bias[o] is added. Slow, and there so that every network runs.
struct FloatConvOp {
  int input = 0;
  int output = 0;
  Conv2d geometry;
  std::vector<float> weight;  // [out_channels, kernel h, kernel w, in_channels / groups]
  std::vector<float> bias;
};

// Mean of a whole channel of codes: v = sum * multiplier + bias, then as in Epilogue.
struct GlobalMeanOp {
  int input = 0;
  int output = 0;
  float multiplier = 0;
  float bias = 0;
  float lower = 0;
  float upper = 0;
};

// All others: what the layer is in floats, then the code of the result (quant/channel_grid.h).
struct PlainOp {
  Op op;  // Input stands for "as it is": makes codes of floats, or others of codes
  std::vector<int> inputs;
  int output = 0;
  std::vector<float> multiplier, bias;  // of a batch norm: y = x * multiplier[c] + bias[c]
};

using PlanOp = std::variant<ConvOp, FloatConvOp, GlobalMeanOp, PlainOp>;

struct PlanStep {
  std::string name;    // of the last layer in it
  std::string layers;  // all of them: "conv1 + relu"
  int64_t macs = 0;
  PlanOp op;
};

struct Plan {
  std::vector<PlanTensor> tensors;  // the first: the images, in floats
  std::vector<PlanStep> steps;      // in the order in which they run
  int output = 0;

  const PlanTensor& input_tensor() const { return tensors.front(); }
  const PlanTensor& output_tensor() const { return tensors[static_cast<size_t>(output)]; }
};

// InvalidArgument, naming the layer, for a model that CheckQuantizedModel refuses and for one that is too large: a
// tensor or the weights beyond 2^31 numbers.
absl::StatusOr<Plan> MakePlan(const QuantizedModel& model);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_PLAN_H_
