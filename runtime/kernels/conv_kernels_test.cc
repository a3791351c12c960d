// Every kernel against the reference, bit for bit, over sizes around the blocks that kernels cut them into.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "gtest/gtest.h"
#include "runtime/aligned_vector.h"
#include "runtime/kernels/choose_kernel.h"
#include "runtime/kernels/conv_testing.h"

namespace lowbit {
namespace {

std::vector<uint8_t> RunKernel(const ConvKernel& kernel, const ConvProblem& problem, const std::vector<uint8_t>& input,
                               const std::vector<uint8_t>& shortcut, bool in_parts) {
  std::vector<uint8_t> output(static_cast<size_t>(problem.output_layout.bytes), 0);
  constexpr size_t kGuard = 256;
  const size_t scratch_bytes = static_cast<size_t>(kernel.scratch_bytes());
  AlignedVector<uint8_t> scratch(scratch_bytes + kGuard, 0xee);
  const ConvBuffers buffers{input.data(), output.data(), shortcut.data(), scratch.data()};
  const int64_t height = problem.output->height;
  const int64_t cut = in_parts ? height / 3 : 0;
  kernel.Run(buffers, cut, height);
  kernel.Run(buffers, 0, cut);
  for (size_t i = scratch_bytes; i < scratch.size(); ++i) {
    EXPECT_EQ(scratch[i], 0xee) << kernel.name() << " writes behind its scratch memory";
  }
  return output;
}

// How many kernels, the reference not counted, put out its bits.
int Compare(const ConvCase& test, const std::string& what) {
  Rng random({7});
  const Plan plan = MakeConvPlan(test, random);
  const MemoryPlan memory = PlanMemory(plan);
  const ConvProblem problem = MakeConvProblem(plan, memory);
  std::vector<uint8_t> shortcut;
  if (test.shortcut) {
    shortcut = FillTensor(plan.tensors[2], memory.layouts[2], false, random);
  }
  const std::vector<uint8_t> input = FillTensor(plan.tensors[0], memory.layouts[0], test.extreme, random);
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
        ConvCase test;
        test.geometry = Geometry(in, out);
        test.width = width;
        test.height = 5;
        compared += Compare(test, absl::StrCat(in, " to ", out, " channels, width ", width));
      }
    }
  }
  EXPECT_GE(compared, 6 * 6 * 7);
}

// Tiles of pixels go on in the next row, and come by the 64; channels come by the 16 and by the 32.
TEST(ConvKernels, AreExactAtEverySizeOfARow) {
  for (const auto& [max_code, max_weight] : {std::pair{255, 127}, {15, 1}, {3, 0}, {1, 0}}) {
    for (int64_t width = 1; width <= 17; ++width) {
      for (const int64_t out : {16, 31, 32, 49}) {
        ConvCase test;
        test.geometry = Geometry(max_code == 3 ? 32 : 8, out, 3, width % 3 == 0 ? 2 : 1);
        test.height = width == 1 ? 70 : 11;
        test.width = width;
        test.max_code = max_code;
        test.max_weight = max_weight;
        test.shortcut = out == 31;
        test.weight_zero_points = out == 49;
        Compare(test, absl::StrCat("width ", width, ", ", out, " channels, codes to ", max_code));
      }
    }
  }
}

// Codes of few bits with weights of 1 bit.
TEST(ConvKernels, AreExactForBits) {
  for (const int64_t in : {8, 12, 16, 24, 32, 40, 64, 72}) {
    for (const int64_t kernel : {1, 2, 3, 5}) {
      for (const int64_t stride : {1, 2, 3}) {
        for (const int64_t dilation : {1, 2}) {
          ConvCase test;
          test.geometry = Geometry(in, 33, kernel, stride, kernel / 2, dilation);
          test.height = 9;
          test.width = 13;
          test.max_code = in % 16 == 8 ? 2 : stride;
          test.max_weight = 0;
          test.zero_point = dilation == 2 ? 0.5f : 0.0f;
          test.weight_zero_points = stride == 3;
          test.border = in % 3 == 0 ? 4 : 0;
          Compare(test, absl::StrCat(in, " channels, kernel ", kernel, ", stride ", stride, ", dilation ", dilation));
        }
      }
    }
  }
}

TEST(ConvKernels, AreExactAtOddSizes) {
  for (const int64_t channels : {16, 32}) {
    for (const int32_t max_code : {1, 3, 15, 255}) {
      for (int64_t height = 3; height <= 7; ++height) {
        for (int64_t width = 6; width <= 11; ++width) {
          ConvCase test;
          test.geometry = Geometry(channels, 16);
          test.height = height;
          test.width = width;
          test.max_code = max_code;
          if (max_code == 1) test.max_weight = 0;
          Compare(test, absl::StrCat(channels, " channels, ", height, " by ", width, ", codes to ", max_code));
        }
      }
    }
  }
}

TEST(ConvKernels, AreExactAtEveryPrecision) {
  for (const int32_t max_code : {1, 3, 7, 15, 127, 255}) {
    for (const int32_t max_weight : {0, 1, 3, 7, 15, 127}) {
      for (const bool extreme : {false, true}) {
        ConvCase test;
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
      ConvCase test;
      test.geometry = Geometry(512, 16);
      test.height = test.width = 4;
      test.max_code = max_code;
      test.max_weight = max_weight;
      test.extreme = true;
      Compare(test, absl::StrCat("codes to ", max_code, ", weights to ", max_weight));
    }
  }
}

TEST(ConvKernels, AreExactWhereTablesArePooled) {
  for (const int32_t max_weight : {0, 1, 7}) {
    for (const int64_t size : {4, 6}) {
      ConvCase test;
      test.geometry = Geometry(128, 64);
      test.height = test.width = size;
      test.max_code = 1;
      test.max_weight = max_weight;
      Compare(test, absl::StrCat("weights to ", max_weight, ", size ", size));
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
      ConvCase test;
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
    ConvCase test;
    test.geometry = Geometry(16, i % 2 == 0 ? 32 : 30);
    test.zero_point = (i & 2) != 0 ? 7.5f : 0;
    test.weight_zero_points = (i & 4) != 0;
    test.codes_out = (i & 8) != 0;
    test.shortcut = (i & 16) != 0;
    test.float_shortcut = (i & 32) != 0;
    test.shortcut_before = (i & 64) != 0 ? 5 : 8;
    test.shortcut_stride = i % 3 == 0 ? 2 : 1;
    if (i % 5 == 0) test.shortcut_before = 0;
    if (i % 3 == 1) test.lowest_out = 2.3f;
    if (i % 7 == 0) test.max_code = 255, test.max_weight = 127;
    if (i / 3 % 2 == 1) test.height = 9, test.width = 11;  // the 64th pixel is within a row
    Compare(test, absl::StrCat("epilogue ", i));
  }
}

// Few pixels, in rows of every length.
TEST(ConvKernels, AreExactForOneOrTwoRows) {
  for (const int64_t kernel : {1, 3}) {
    for (const int64_t height : {1, 2}) {
      for (int64_t width = 1; width <= 40; ++width) {
        for (const int32_t max_code : {1, 3, 255}) {
          ConvCase test;
          test.geometry = Geometry(16, 32, kernel, 1, kernel / 2);
          test.height = height;
          test.width = width;
          test.max_code = max_code;
          test.max_weight = max_code == 255 ? 127 : 1;
          Compare(test, absl::StrCat("kernel ", kernel, ", ", height, " by ", width, ", codes to ", max_code));
        }
      }
    }
  }
}

// Few codes are told apart by the sums at which they begin.
TEST(ConvKernels, AreExactWhereFewCodesArePutOut) {
  for (int i = 0; i < 64; ++i) {
    ConvCase test;
    test.geometry = Geometry((i & 1) != 0 ? 64 : 16, 32);
    test.height = 9;
    test.width = 4 + i % 13;
    test.max_code = (i & 2) != 0 ? 3 : 1;
    test.max_weight = (i & 4) != 0 ? 1 : 0;
    test.max_out = (i & 8) != 0 ? 3 : 1;
    test.shortcut = (i & 16) != 0;
    test.shortcut_stride = i % 3 == 0 ? 2 : 1;
    test.shortcut_before = i % 5 == 0 ? 5 : i % 5 == 1 ? 8 : 0;
    test.zero_point = i % 11 == 0 ? 0.5f : 0;
    test.lowest_out = i % 4 == 1 ? 0.7f : 0;
    test.extreme = (i & 32) != 0 && i % 7 == 0;
    Compare(test, absl::StrCat("few codes ", i));
  }
}

TEST(ConvKernels, ThereIsOneForEachPrecision) {
  const auto best = [](Cpu cpu, int32_t max_code, int32_t max_weight, int64_t groups = 1, int64_t channels = 16) {
    ConvCase test;
    test.geometry = Geometry(channels, channels, 3, 1, 1, 1, groups);
    test.max_code = max_code;
    test.max_weight = max_weight;
    Rng random({1});
    const Plan plan = MakeConvPlan(test, random);
    const MemoryPlan memory = PlanMemory(plan);
    return std::string(BestConvKernel(MakeConvProblem(plan, memory), cpu)->name());
  };
  const Cpu highest = RunnableCpus().back();
  EXPECT_EQ(best(Cpu::kPortable, 255, 127), "portable");
  EXPECT_EQ(best(Cpu::kPortable, 255, 127, 16), "portable depthwise");
  if (highest >= Cpu::kAvx2) {
    EXPECT_EQ(best(Cpu::kAvx2, 255, 127), "avx2 winograd words");
    EXPECT_EQ(best(Cpu::kAvx2, 15, 7), "avx2 winograd bytes");
    EXPECT_EQ(best(Cpu::kAvx2, 1, 0), "avx2 tables of 4 codes");
    EXPECT_EQ(best(Cpu::kAvx2, 255, 127, 16), "avx2 depthwise");
  }
  if (highest >= Cpu::kAvx512Vnni) {
    EXPECT_EQ(best(Cpu::kAvx512Vnni, 255, 127), "avx512 bytes");
    EXPECT_EQ(best(Cpu::kAvx512Vnni, 15, 7), "avx512 bytes");
    EXPECT_EQ(best(Cpu::kAvx512Vnni, 255, 127, 16), "avx512 depthwise");
  }
  if (highest >= Cpu::kAvx512Popcnt) {
    EXPECT_EQ(best(Cpu::kAvx512Popcnt, 255, 0), "avx512 bytes");
    EXPECT_EQ(best(Cpu::kAvx512Popcnt, 3, 0, 1, 32), "avx512 bits of 2 planes");
    EXPECT_EQ(best(Cpu::kAvx512Popcnt, 3, 0, 1, 16), "avx512 bytes");
    EXPECT_EQ(best(Cpu::kAvx512Popcnt, 1, 0), "avx512 bits");
  }
}

}  // namespace
}  // namespace lowbit
