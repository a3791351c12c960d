#include "quant/activation_cache.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/scratch_memory.h"
#include "base/status_macros.h"

namespace lowbit {

at::Tensor ActivationCache::InMemory(const at::Tensor& x) const {
  const int64_t bytes = static_cast<int64_t>(x.nbytes());
  counts_->in_memory += bytes;
  return at::from_blob(
      x.data_ptr(), x.sizes(), x.strides(), [x, bytes, counts = counts_](void*) { counts->in_memory -= bytes; },
      x.options());
}

absl::StatusOr<at::Tensor> ActivationCache::InFile(const at::Tensor& like) {
  LOWBIT_ASSIGN_OR_RETURN(std::shared_ptr<ScratchMemory> memory,
                          ScratchMemory::Create(folder_, static_cast<int64_t>(like.nbytes())));
  counts_->in_files += memory->size();
  most_in_files_ = std::max<int64_t>(most_in_files_, counts_->in_files);
  void* const data = memory->data();
  return at::from_blob(
      data, like.sizes(), like.strides(),
      [memory = std::move(memory), counts = counts_](void*) { counts->in_files -= memory->size(); },
      like.options().device(at::kCPU));
}

absl::StatusOr<at::Tensor> ActivationCache::Empty(at::IntArrayRef sizes) {
  const at::MemoryFormat format = sizes.size() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  const at::Tensor shape = at::empty(sizes, at::TensorOptions(at::kFloat).device(at::kMeta), format);
  if (!Fits(static_cast<int64_t>(shape.nbytes()))) return InFile(shape);
  return InMemory(at::empty(sizes, at::kFloat, format));
}

absl::StatusOr<at::Tensor> ActivationCache::Hold(const at::Tensor& tensor) {
  // A view of some rows and columns would keep the whole of what it is of.
  const at::Tensor x =
      tensor.is_non_overlapping_and_dense() ? tensor : tensor.contiguous(tensor.suggest_memory_format());
  if (Fits(static_cast<int64_t>(x.nbytes()))) return InMemory(x);
  LOWBIT_ASSIGN_OR_RETURN(at::Tensor copy, InFile(x));
  copy.copy_(x);
  return copy;
}

}  // namespace lowbit
