#ifndef LOWBIT_QUANT_ACTIVATION_CACHE_H_
#define LOWBIT_QUANT_ACTIVATION_CACHE_H_

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace lowbit {

// Where activations of all images are kept: in memory up to a limit, and beyond it in files without a name
// (base/scratch_memory.h). A tensor that does not fit below the limit goes to a file as a whole. Numbers are the same
// wherever they are kept. Tensors may outlive the cache. Not for several threads at once.
class ActivationCache {
 public:
  // `memory`: the limit, in bytes. Files are made in `folder`, which must exist by then.
  ActivationCache(std::string folder, int64_t memory) : folder_(std::move(folder)), memory_(memory) {}

  // A float32 tensor of any numbers, images channels-last. Errors: those of the disk.
  absl::StatusOr<at::Tensor> Empty(at::IntArrayRef sizes);

  // `x` as it is, or a copy of it: in a file, or of a view that is not dense, which would keep all that it is of.
  absl::StatusOr<at::Tensor> Hold(const at::Tensor& x);

  // Bytes of tensors that are still there, and the most that were in files at one time.
  int64_t in_memory() const { return counts_->in_memory; }
  int64_t in_files() const { return counts_->in_files; }
  int64_t most_in_files() const { return most_in_files_; }

 private:
  struct Counts {
    std::atomic<int64_t> in_memory{0}, in_files{0};
  };

  // `x`, which counts from now on until it goes.
  at::Tensor InMemory(const at::Tensor& x) const;
  // A tensor with the sizes and strides of `like`, of any numbers.
  absl::StatusOr<at::Tensor> InFile(const at::Tensor& like);
  bool Fits(int64_t bytes) const { return bytes <= memory_ - counts_->in_memory; }

  const std::string folder_;
  const int64_t memory_;
  const std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
  int64_t most_in_files_ = 0;
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_ACTIVATION_CACHE_H_
