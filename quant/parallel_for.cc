#include "quant/parallel_for.h"

#include <ATen/TensorIterator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <atomic>

namespace lowbit {
namespace {

// LibTorch's threads wait for each other in libraries that ThreadSanitizer does not see. These tell it: what was done
// before `began` went up is known to a thread that has looked at it, and likewise for `ended`.
std::atomic<uint64_t> began{0};
std::atomic<uint64_t> ended{0};

}  // namespace

void ParallelFor(int64_t count, const std::function<void(int64_t)>& body) {
  if (count <= 1) {
    if (count == 1) body(0);
    return;
  }
  // TensorIterator::for_each is compiled into LibTorch. It hands out ranges of the elements of a tensor; an element's
  // distance from the first is its index.
  at::Tensor slots = at::empty({count}, at::kByte);
  const char* const first = static_cast<const char*>(slots.data_ptr());
  at::TensorIterator iterator = at::TensorIterator::nullary_op(slots);
  const auto loop = [&](char** data, const int64_t* strides, int64_t size0, int64_t size1) {
    began.load(std::memory_order_acquire);
    for (int64_t j = 0; j < size1; ++j) {
      for (int64_t i = 0; i < size0; ++i) body(data[0] + j * strides[1] + i * strides[0] - first);
    }
    ended.fetch_add(1, std::memory_order_release);
  };
  began.fetch_add(1, std::memory_order_release);
  iterator.for_each(loop, /*grain_size=*/1);
  ended.load(std::memory_order_acquire);
}

}  // namespace lowbit
