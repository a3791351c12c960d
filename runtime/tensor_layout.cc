#include "runtime/tensor_layout.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace lowbit {
namespace {

constexpr int64_t kAlignment = 64;

using Border = std::array<int64_t, 2>;  // rows above and below, columns at the left and at the right

// Of each tensor: as wide as the widest padding of a convolution that reads it.
std::vector<Border> FindBorders(const Plan& plan) {
  std::vector<Border> borders(plan.tensors.size(), Border{0, 0});
  for (const PlanStep& step : plan.steps) {
    const auto* const conv = std::get_if<ConvOp>(&step.op);
    if (conv == nullptr) continue;
    Border& widest = borders[static_cast<size_t>(conv->input)];
    for (size_t d = 0; d < 2; ++d) widest[d] = std::max(widest[d], conv->geometry.padding[d]);
  }
  return borders;
}

// What two tensors must have in common to share memory.
bool SameLayout(const TensorLayout& a, const TensorLayout& b) {
  return a.pixel == b.pixel && a.row == b.row && a.offset == b.offset && a.rows == b.rows && a.is_codes == b.is_codes;
}

TensorLayout MakeLayout(const PlanTensor& tensor, const Border& border) {
  TensorLayout layout;
  layout.is_codes = tensor.is_codes;
  layout.pixel = tensor.is_codes ? (tensor.channels + 3) / 4 * 4 : tensor.channels;
  layout.row = layout.pixel * (tensor.width + 2 * border[1]);
  layout.offset = border[0] * layout.row + border[1] * layout.pixel;
  layout.rows = tensor.height + 2 * border[0];
  const int64_t numbers = layout.row * layout.rows;
  const int64_t bytes = numbers * static_cast<int64_t>(tensor.is_codes ? sizeof(uint8_t) : sizeof(float));
  layout.bytes = (bytes + kReadSlack + kAlignment - 1) / kAlignment * kAlignment;
  return layout;
}

}  // namespace

std::vector<int> Inputs(const PlanOp& op) {
  if (const auto* plain = std::get_if<PlainOp>(&op)) return plain->inputs;
  if (const auto* mean = std::get_if<GlobalMeanOp>(&op)) return {mean->input};
  if (const auto* floats = std::get_if<FloatConvOp>(&op)) return {floats->input};
  const auto& conv = std::get<ConvOp>(op);
  if (conv.epilogue.shortcut.tensor < 0) return {conv.input};
  return {conv.input, conv.epilogue.shortcut.tensor};
}

int Output(const PlanOp& op) {
  return std::visit([](const auto& o) { return o.output; }, op);
}

absl::Status CheckBorders(const Plan& plan) {
  constexpr int64_t kMaxNumbers = int64_t{1} << 30;  // of all tensors
  const std::vector<Border> borders = FindBorders(plan);
  int64_t numbers = 0;
  for (size_t t = 0; t < plan.tensors.size(); ++t) {
    const PlanTensor& tensor = plan.tensors[t];
    int64_t size = 1;
    for (const int64_t extent :
         {tensor.channels + 3, tensor.height + 2 * borders[t][0], tensor.width + 2 * borders[t][1]}) {
      // (Each of them is below 2^34.)
      size = std::min(size * extent, kMaxNumbers);
    }
    numbers += size;
    if (numbers >= kMaxNumbers) {
      return absl::InvalidArgumentError(absl::StrCat(
          "layer \"", tensor.name, "\": all tensors up to here, with the borders for padding, are absurdly ", "large"));
    }
  }
  return absl::OkStatus();
}

MemoryPlan PlanMemory(const Plan& plan) {
  const size_t tensors = plan.tensors.size();
  const std::vector<Border> borders = FindBorders(plan);
  std::vector<size_t> last_use(tensors, 0);
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    for (const int input : Inputs(plan.steps[i].op)) last_use[static_cast<size_t>(input)] = i;
  }
  last_use[static_cast<size_t>(plan.output)] = plan.steps.size();

  MemoryPlan memory;
  memory.slots.assign(tensors, -1);
  for (size_t t = 0; t < tensors; ++t) memory.layouts.push_back(MakeLayout(plan.tensors[t], borders[t]));
  std::vector<TensorLayout> slot_layout;
  std::vector<int64_t> free_after;  // the last step that needs what the slot holds
  const auto place = [&](size_t t, int64_t step) {
    const TensorLayout& layout = memory.layouts[t];
    size_t slot = 0;
    while (slot < slot_layout.size() && (free_after[slot] >= step || !SameLayout(slot_layout[slot], layout))) ++slot;
    if (slot == slot_layout.size()) {
      slot_layout.push_back(layout);
      memory.slot_bytes.push_back(layout.bytes);
      free_after.push_back(0);
    }
    free_after[slot] = static_cast<int64_t>(last_use[t]);
    memory.slots[t] = static_cast<int>(slot);
  };
  place(0, -1);
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    place(static_cast<size_t>(Output(plan.steps[i].op)), static_cast<int64_t>(i));
  }
  return memory;
}

}  // namespace lowbit
