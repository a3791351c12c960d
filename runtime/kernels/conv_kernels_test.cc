// Every kernel against the reference, bit for bit, over sizes around the blocks that kernels cut them into.

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "gtest/gtest.h"
#include "runtime/kernels/choose_kernel.h"

namespace lowbit {
namespace {

struct Case {
  Conv2d geometry;
  int64_t height = 8;
  int64_t width = 8;
  int32_t max_code = 15;
  int32_t max_weight = 7;  // weights in [-max_weight - 1, max_weight]; 0: -1 and 1
  float zero_point = 0;    // of the input
  bool weight_zero_points = false;
  bool codes_out = true;
  bool shortcut = false;
  bool float_shortcut = false;
  int64_t shortcut_before = 0;  // channels of zeros ahead of its own; as many behind
  int64_t shortcut_stride = 1;
  bool extreme = false;  // all codes and weights at an end of their range
};

Conv2d Geometry(int64_t in, int64_t out, int64_t kernel = 3, int64_t stride = 1, int64_t padding = 1,
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

PlanTensor Codes(int64_t channels, int64_t height, int64_t width, int32_t max_code) {
  PlanTensor tensor;
  tensor.channels = channels;
  tensor.height = height;
  tensor.width = width;
  tensor.is_codes = true;
  tensor.max_code = max_code;
  return tensor;
}

// A plan of one convolution with random constants.
Plan MakePlan(const Case& test, Rng& random) {
  const Conv2d& g = test.geometry;
  const auto extent = [&](int64_t in, size_t d) {
    return (in + 2 * g.padding[d] - g.dilation[d] * (g.kernel[d] - 1) - 1) / g.stride[d] + 1;
  };
  const int64_t height = extent(test.height, 0), width = extent(test.width, 1);
  Plan plan;
  plan.tensors.push_back(Codes(g.in_channels, test.height, test.width, test.max_code));
  plan.tensors[0].zero_point = test.zero_point;
  plan.tensors.push_back(Codes(g.out_channels, height, width, 15));
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
  const size_t classes = test.zero_point == 0 ? 1 : 4;
  for (int64_t o = 0; o < g.out_channels; ++o) {
    conv.epilogue.multiplier.push_back(static_cast<float>(random.Uniform01() * 20) / reach);
    if (test.weight_zero_points)
      conv.epilogue.patch_multiplier.push_back(static_cast<float>(random.Uniform01()) / reach);
  }
  for (size_t i = 0; i < classes * static_cast<size_t>(g.out_channels); ++i) {
    conv.epilogue.bias.push_back(static_cast<float>(random.Uniform01() * 10));
  }
  for (int64_t y = 0; y < height; ++y) conv.row_class.push_back(classes > 1 && y == 0 ? 1 : 0);
  for (int64_t x = 0; x < width; ++x) conv.column_class.push_back(classes > 1 && x + 1 == width ? 1 : 0);
  conv.column_classes = classes > 1 ? 2 : 1;
  conv.epilogue.lower = test.codes_out ? 0.0f : -3.0f;
  conv.epilogue.upper = 15;
  if (test.shortcut) {
    Shortcut& shortcut = conv.epilogue.shortcut;
    shortcut.tensor = 2;
    shortcut.before = test.shortcut_before;
    shortcut.stride = {test.shortcut_stride, test.shortcut_stride};
    shortcut.multiplier = 0.37f;
    plan.tensors.push_back(Codes(g.out_channels - 2 * test.shortcut_before, height * test.shortcut_stride,
                                 width * test.shortcut_stride, 15));
    plan.tensors[2].is_codes = !test.float_shortcut;
  }
  plan.steps.push_back({"conv", "conv", 0, std::move(conv)});
  return plan;
}

// Memory of a tensor, random where it is not border.
std::vector<uint8_t> Fill(const PlanTensor& tensor, const TensorLayout& layout, bool extreme, Rng& random) {
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

std::vector<uint8_t> RunKernel(const ConvKernel& kernel, const ConvProblem& problem, const std::vector<uint8_t>& input,
                               const std::vector<uint8_t>& shortcut, bool in_parts) {
  std::vector<uint8_t> output(static_cast<size_t>(problem.output_layout.bytes), 0);
  const size_t scratch_bytes = static_cast<size_t>(kernel.scratch_bytes() / 64 + 1) * 64;
  auto* const scratch = static_cast<uint8_t*>(std::aligned_alloc(64, scratch_bytes));
  std::memset(scratch, 0xee, scratch_bytes);
  const ConvBuffers buffers{input.data(), output.data(), shortcut.data(), scratch};
  const int64_t height = problem.output->height;
  const int64_t cut = in_parts ? height / 3 : 0;
  kernel.Run(buffers, cut, height);
  kernel.Run(buffers, 0, cut);
  std::free(scratch);
  return output;
}

// How many kernels, the reference not counted, put out its bits.
int Compare(const Case& test, const std::string& what) {
  Rng random({7});
  const Plan plan = MakePlan(test, random);
  const MemoryPlan memory = PlanMemory(plan);
  // PlanMemory places inputs of steps only: here all but the output are.
  ConvProblem problem;
  problem.op = &std::get<ConvOp>(plan.steps[0].op);
  problem.input = &plan.tensors[0];
  problem.output = &plan.tensors[1];
  problem.input_layout = memory.layouts[0];
  problem.output_layout = memory.layouts[1];
  std::vector<uint8_t> shortcut;
  if (test.shortcut) {
    problem.shortcut_layout = memory.layouts[2];
    problem.shortcut_channels = plan.tensors[2].channels;
    shortcut = Fill(plan.tensors[2], memory.layouts[2], false, random);
  }
  const std::vector<uint8_t> input = Fill(plan.tensors[0], memory.layouts[0], test.extreme, random);
  const auto kernels = AllConvKernels(problem, RunnableCpus().back());
  const std::vector<uint8_t> wanted = RunKernel(*kernels.back(), problem, input, shortcut, false);
  for (size_t i = 0; i + 1 < kernels.size(); ++i) {
    for (const bool in_parts : {false, true}) {
      const std::vector<uint8_t> got = RunKernel(*kernels[i], problem, input, shortcut, in_parts);
      EXPECT_TRUE(got == wanted) << kernels[i]->name() << " differs: " << what;
    }
  }
  return static_cast<int>(kernels.size()) - 1;
}

TEST(ConvKernels, AreExactAtSizesAroundTheirBlocks) {
  int compared = 0;
  for (const int64_t in : {1, 3, 4, 5, 16, 17}) {
    for (const int64_t out : {1, 8, 15, 16, 17, 33}) {
      for (const int64_t width : {1, 2, 3, 4, 5, 7, 8}) {
        Case test;
        test.geometry = Geometry(in, out);
        test.width = width;
        test.height = 5;
        compared += Compare(test, absl::StrCat(in, " to ", out, " channels, width ", width));
      }
    }
  }
  EXPECT_GE(compared, 6 * 6 * 7);
}

TEST(ConvKernels, AreExactAtEveryWidth) {
  for (const int32_t max_code : {1, 3, 7, 15, 127, 255}) {
    for (const int32_t max_weight : {0, 1, 3, 7, 15, 127}) {
      for (const bool extreme : {false, true}) {
        Case test;
        test.geometry = Geometry(32, 20);
        test.max_code = max_code;
        test.max_weight = max_weight;
        test.extreme = extreme;
        Compare(test, absl::StrCat("codes to ", max_code, ", weights to ", max_weight, extreme ? ", extreme" : ""));
      }
    }
  }
}

TEST(ConvKernels, AreExactForLongSumsAtTheEndsOfTheRange) {
  for (const int32_t max_code : {15, 255}) {
    for (const int32_t max_weight : {0, 1, 7, 127}) {
      Case test;
      test.geometry = Geometry(512, 16);
      test.height = test.width = 4;
      test.max_code = max_code;
      test.max_weight = max_weight;
      test.extreme = true;
      Compare(test, absl::StrCat("codes to ", max_code, ", weights to ", max_weight));
    }
  }
}

TEST(ConvKernels, AreExactForEveryGeometry) {
  const Conv2d geometries[] = {
      Geometry(16, 16, 1, 1, 0),        Geometry(16, 16, 1, 2, 0),      Geometry(16, 16, 3, 2, 1),
      Geometry(16, 16, 3, 1, 0),        Geometry(16, 16, 5, 1, 2),      Geometry(16, 16, 3, 1, 2, 2),
      Geometry(16, 16, 3, 3, 1),        Geometry(16, 16, 2, 1, 1),      Geometry(16, 16, 8, 1, 0),
      Geometry(16, 32, 3, 1, 1, 1, 4),  Geometry(12, 6, 3, 1, 1, 1, 3), Geometry(16, 16, 3, 1, 1, 1, 16),
      Geometry(19, 19, 3, 2, 1, 1, 19), Geometry(5, 5, 5, 1, 2, 1, 5),  Geometry(40, 40, 3, 1, 1, 2, 40),
  };
  for (const Conv2d& geometry : geometries) {
    for (const int32_t max_code : {15, 255}) {
      Case test;
      test.geometry = geometry;
      test.height = 9;
      test.width = 11;
      if (geometry.kernel[0] == 8) test.height = test.width = 8;
      test.max_code = max_code;
      if (max_code == 255) test.max_weight = 127;
      Compare(test,
              absl::StrCat("kernel ", geometry.kernel[0], ", stride ", geometry.stride[0], ", padding ",
                           geometry.padding[0], ", dilation ", geometry.dilation[0], ", groups ", geometry.groups));
    }
  }
}

TEST(ConvKernels, AreExactWithEveryEpilogue) {
  for (int i = 0; i < 128; ++i) {
    Case test;
    test.geometry = Geometry(16, i % 2 == 0 ? 32 : 30);
    test.zero_point = (i & 2) != 0 ? 7.5f : 0;
    test.weight_zero_points = (i & 4) != 0;
    test.codes_out = (i & 8) != 0;
    test.shortcut = (i & 16) != 0;
    test.float_shortcut = (i & 32) != 0;
    test.shortcut_before = (i & 64) != 0 ? 5 : 8;
    test.shortcut_stride = i % 3 == 0 ? 2 : 1;
    if (i % 5 == 0) test.shortcut_before = 0;
    if (i % 7 == 0) test.max_code = 255, test.max_weight = 127;
    Compare(test, absl::StrCat("epilogue ", i));
  }
}

TEST(ConvKernels, ThereIsOneForEachPrecision) {
  const auto best = [](int32_t max_code, int32_t max_weight) {
    Case test;
    test.geometry = Geometry(16, 16);
    test.max_code = max_code;
    test.max_weight = max_weight;
    Rng random({1});
    const Plan plan = MakePlan(test, random);
    const MemoryPlan memory = PlanMemory(plan);
    ConvProblem problem;
    problem.op = &std::get<ConvOp>(plan.steps[0].op);
    problem.input = &plan.tensors[0];
    problem.output = &plan.tensors[1];
    problem.input_layout = memory.layouts[0];
    problem.output_layout = memory.layouts[1];
    return std::string(BestConvKernel(problem, RunnableCpus().back())->name());
  };
  if (RunnableCpus().back() != Cpu::kAvx2) GTEST_SKIP() << "needs AVX2";
  EXPECT_EQ(best(255, 127), "avx2 words");
  EXPECT_EQ(best(15, 7), "avx2 bytes");
}

}  // namespace
}  // namespace lowbit
