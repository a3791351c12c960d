#ifndef LOWBIT_RUNTIME_TENSOR_LAYOUT_H_
#define LOWBIT_RUNTIME_TENSOR_LAYOUT_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "runtime/plan.h"

namespace lowbit {

// Where the numbers of a tensor stand: channel c of pixel (y, x) at offset + y * row + x * pixel + c, counted in
// numbers (bytes for codes, floats else). Pixels of codes are filled up to a multiple of 4 channels, and framed by a
// border as wide as the widest padding of a convolution that reads them, which holds zeros.
struct TensorLayout {
  int64_t pixel = 0;
  int64_t row = 0;
  int64_t offset = 0;
  int64_t rows = 0;   // with those of the border
  int64_t bytes = 0;  // with slack behind, so that a vector that starts at a number may be loaded whole
  bool is_codes = false;
};

// Bytes that may be read behind the last number.
constexpr int64_t kReadSlack = 64;

// A place in memory for each tensor. Tensors of the same layout share one if they are never needed at the same time, so
// that borders, cleared once, stay zero.
struct MemoryPlan {
  std::vector<TensorLayout> layouts;  // of each tensor
  std::vector<int> slots;             // of each tensor
  std::vector<int64_t> slot_bytes;
};

MemoryPlan PlanMemory(const Plan& plan);

// InvalidArgument, naming the layer, where paddings make tensors absurdly large: PlanMemory takes others for granted.
absl::Status CheckBorders(const Plan& plan);

// The tensors that an operation reads.
std::vector<int> Inputs(const PlanOp& op);
int Output(const PlanOp& op);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_TENSOR_LAYOUT_H_
