#include "runtime/tensor_layout.h"

#include <array>
#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

Conv2d Geometry(int64_t in, int64_t out, std::array<int64_t, 2> kernel, std::array<int64_t, 2> padding) {
  Conv2d geometry;
  geometry.in_channels = in;
  geometry.out_channels = out;
  geometry.kernel = kernel;
  geometry.padding = padding;
  return geometry;
}

// Adds a tensor of codes, 4 wide, and the convolution that makes it out of the last one.
void Add(int64_t channels, int64_t height, Conv2d geometry, Plan* plan) {
  PlanTensor tensor;
  tensor.channels = channels;
  tensor.height = height;
  tensor.width = 4;
  tensor.is_codes = true;
  tensor.max_code = 15;
  plan->tensors.push_back(tensor);
  ConvOp conv;
  conv.geometry = geometry;
  conv.input = static_cast<int>(plan->tensors.size()) - 2;
  conv.output = plan->output = conv.input + 1;
  const std::string name = "conv" + std::to_string(plan->steps.size());
  plan->steps.push_back({name, name, 0, conv});
}

// Tensors 0 and 2 are read with the same border; the latter has so many rows less.
Plan MakePlan(int64_t rows_less) {
  Plan plan;
  PlanTensor first;
  first.channels = 4;
  first.height = 5;
  first.width = 4;
  first.is_codes = true;
  first.max_code = 15;
  plan.tensors.push_back(first);
  Add(8, 5, Geometry(4, 8, {3, 3}, {1, 1}), &plan);
  Add(4, 5 - rows_less, Geometry(8, 4, {1 + rows_less, 1}, {0, 0}), &plan);
  Add(8, 5 - rows_less, Geometry(4, 8, {3, 3}, {1, 1}), &plan);
  return plan;
}

TEST(PlanMemory, TensorsOfOneLayoutShareMemory) {
  const MemoryPlan memory = PlanMemory(MakePlan(0));
  EXPECT_EQ(memory.slots[2], memory.slots[0]);
  EXPECT_NE(memory.slots[1], memory.slots[0]);
}

// What is a row of the one would be border of the other, which has to stay zero.
TEST(PlanMemory, TensorsOfOtherHeightsDoNot) {
  const MemoryPlan memory = PlanMemory(MakePlan(1));
  EXPECT_EQ(memory.layouts[2].bytes, memory.layouts[0].bytes);  // rounded up
  EXPECT_NE(memory.slots[2], memory.slots[0]);
}

}  // namespace
}  // namespace lowbit
