#ifndef LOWBIT_RUNTIME_KERNELS_CONV_TESTING_H_
#define LOWBIT_RUNTIME_KERNELS_CONV_TESTING_H_

// Convolutions with random constants, for tests and benchmarks of kernels.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/random.h"
#include "runtime/kernels/conv_kernel.h"
#include "runtime/plan.h"
#include "runtime/tensor_layout.h"

namespace lowbit {

struct ConvCase {
  Conv2d geometry;
  int64_t height = 8;
  int64_t width = 8;
  int32_t max_code = 15;
  int32_t max_weight = 7;  // weights in [-max_weight - 1, max_weight]; 0: -1 and 1
  float zero_point = 0;    // of the input
  bool weight_zero_points = false;
  bool codes_out = true;
  int32_t max_out = 15;  // of the codes that are put out, and of a shortcut
  float lowest_out = 0;  // of the codes that are put out
  bool shortcut = false;
  bool float_shortcut = false;
  int64_t shortcut_before = 0;  // channels of zeros ahead of its own; as many behind
  int64_t shortcut_stride = 1;
  int64_t border = 0;    // of the input, where it is wider than the padding
  bool extreme = false;  // all codes and weights at an end of their range
};

inline Conv2d Geometry(int64_t in, int64_t out, int64_t kernel = 3, int64_t stride = 1, int64_t padding = 1,
                       int64_t dilation = 1, int64_t groups = 1) {
  Conv2d geometry;
  geometry.in_channels = in;
  geometry.out_channels = out;
  geometry.kernel = {kernel, kernel};
  geometry.stride = {stride, stride};
  geometry.padding = {padding, padding};
  geometry.dilation = {dilation, dilation};
  geometry.groups = groups;
  return geometry;
}

inline PlanTensor Codes(int64_t channels, int64_t height, int64_t width, int32_t max_code) {
  PlanTensor tensor;
  tensor.channels = channels;
  tensor.height = height;
  tensor.width = width;
  tensor.is_codes = true;
  tensor.max_code = max_code;
  return tensor;
}

// A plan of one convolution with random constants, and where a border is asked for of another, for its padding's sake.
inline Plan MakeConvPlan(const ConvCase& test, Rng& random) {
  const Conv2d& g = test.geometry;
  const auto extent = [&](int64_t in, size_t d) {
    return (in + 2 * g.padding[d] - g.dilation[d] * (g.kernel[d] - 1) - 1) / g.stride[d] + 1;
  };
  const int64_t height = extent(test.height, 0), width = extent(test.width, 1);
  Plan plan;
  plan.tensors.push_back(Codes(g.in_channels, test.height, test.width, test.max_code));
  plan.tensors[0].zero_point = test.zero_point;
  plan.tensors.push_back(Codes(g.out_channels, height, width, test.max_out));
  plan.tensors[1].is_codes = test.codes_out;
  ConvOp conv;
  conv.geometry = g;
  conv.output = plan.output = 1;
  const int64_t row = g.in_channels / g.groups * g.kernel[0] * g.kernel[1];
  for (int64_t i = 0; i < g.out_channels * row; ++i) {
    const int64_t span = test.max_weight == 0 ? 2 : 2 * test.max_weight + 2;
    int64_t draw = random.UniformInt(span);
    if (test.extreme) draw = i / row % 2 == 0 ? 0 : span - 1;
    conv.weight.push_back(static_cast<int8_t>(test.max_weight == 0 ? 2 * draw - 1 : draw - test.max_weight - 1));
  }
  // So that most codes are inside of the range.
  const float reach =
      static_cast<float>(test.max_code * std::max(1, test.max_weight)) * std::sqrt(static_cast<float>(row));
  const float range = 1.5f * static_cast<float>(test.max_out);
  const size_t classes = test.zero_point == 0 ? 1 : 4;
  for (int64_t o = 0; o < g.out_channels; ++o) {
    conv.epilogue.multiplier.push_back(static_cast<float>(random.Uniform01()) * range / reach);
    if (test.weight_zero_points)
      conv.epilogue.patch_multiplier.push_back(static_cast<float>(random.Uniform01()) / reach);
  }
  for (size_t i = 0; i < classes * static_cast<size_t>(g.out_channels); ++i) {
    conv.epilogue.bias.push_back(static_cast<float>(random.Uniform01() - 0.2) * range / 2);
  }
  for (int64_t y = 0; y < height; ++y) conv.row_class.push_back(classes > 1 && y == 0 ? 1 : 0);
  for (int64_t x = 0; x < width; ++x) conv.column_class.push_back(classes > 1 && x + 1 == width ? 1 : 0);
  conv.column_classes = classes > 1 ? 2 : 1;
  conv.epilogue.lower = test.codes_out ? test.lowest_out : -3.0f;
  conv.epilogue.upper = static_cast<float>(test.max_out);
  if (test.shortcut) {
    Shortcut& shortcut = conv.epilogue.shortcut;
    shortcut.tensor = 2;
    shortcut.before = test.shortcut_before;
    shortcut.stride = {test.shortcut_stride, test.shortcut_stride};
    shortcut.multiplier = 0.37f;
    plan.tensors.push_back(Codes(g.out_channels - 2 * test.shortcut_before, height * test.shortcut_stride,
                                 width * test.shortcut_stride, test.max_out));
    plan.tensors[2].is_codes = !test.float_shortcut;
  }
  plan.steps.push_back({"conv", "conv", 0, std::move(conv)});
  if (test.border > 0) {
    ConvOp another;
    another.geometry = Geometry(g.in_channels, g.out_channels, 3, 1, test.border);
    another.output = 1;
    plan.steps.push_back({"another", "another", 0, std::move(another)});
  }
  return plan;
}

// Memory of a tensor, random where it is not border.
inline std::vector<uint8_t> FillTensor(const PlanTensor& tensor, const TensorLayout& layout, bool extreme,
                                       Rng& random) {
  std::vector<uint8_t> memory(static_cast<size_t>(layout.bytes), 0);
  for (int64_t y = 0; y < tensor.height; ++y) {
    for (int64_t x = 0; x < tensor.width; ++x) {
      for (int64_t c = 0; c < tensor.channels; ++c) {
        const int64_t at = layout.offset + y * layout.row + x * layout.pixel + c;
        const uint32_t code = extreme ? static_cast<uint32_t>(tensor.max_code)
                                      : static_cast<uint32_t>(random.UniformInt(tensor.max_code + 1));
        if (layout.is_codes) {
          memory[static_cast<size_t>(at)] = static_cast<uint8_t>(code);
        } else {
          const float value = static_cast<float>(code) * 0.7f - 3;
          std::memcpy(memory.data() + at * 4, &value, 4);
        }
      }
    }
  }
  return memory;
}

// The convolution of such a plan.
inline ConvProblem MakeConvProblem(const Plan& plan, const MemoryPlan& memory) {
  ConvProblem problem;
  problem.op = &std::get<ConvOp>(plan.steps[0].op);
  problem.input = &plan.tensors[0];
  problem.output = &plan.tensors[1];
  problem.input_layout = memory.layouts[0];
  problem.output_layout = memory.layouts[1];
  if (plan.tensors.size() > 2) {
    problem.shortcut_layout = memory.layouts[2];
    problem.shortcut_channels = plan.tensors[2].channels;
    problem.shortcut_max_code = plan.tensors[2].max_code;
  }
  return problem;
}

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_KERNELS_CONV_TESTING_H_
