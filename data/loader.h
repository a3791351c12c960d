#ifndef LOWBIT_DATA_LOADER_H_
#define LOWBIT_DATA_LOADER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/augment.h"
#include "data/dataset.h"
#include "data/normalize.h"

namespace lowbit {

struct Batch {
  ImageShape shape;
  std::vector<float> images;     // [size(), channels, height, width], normalised.
  std::vector<int32_t> labels;   // [size()]
  std::vector<int64_t> indices;  // [size()] Which image of the data set it is.

  int64_t size() const { return static_cast<int64_t>(labels.size()); }
};

struct LoaderOptions {
  // The images, in the order in which they come. Empty: every image once, in the order of the data set.
  std::vector<int64_t> order;
  // At least 1. The last batch has what is left over.
  int64_t batch_size = 256;
  Normalization normalization;
  // Not set: the images as they are. An image's augmentation depends on (seed, epoch, index) only.
  std::optional<AugmentOptions> augment;
  // Images of a batch to be mixed with another one of it, in [0, 1] (MixImages); labels stay as they are. Depends on
  // (seed, epoch), the order and the batch size only.
  double mixup = 0;
  uint64_t seed = 0;
  uint64_t epoch = 0;
  // Batches that are kept ready, at least 1, and threads that make them, at least 1. Neither changes a byte.
  int prefetch = 4;
  int threads = 1;
};

// 0, 1, ..., size - 1.
std::vector<int64_t> SequentialOrder(int64_t size);

// A permutation of 0 .. size - 1 that depends on the three numbers only.
std::vector<int64_t> ShuffledOrder(int64_t size, uint64_t seed, uint64_t epoch);

// One pass over (a part of) a data set in batches. Reading, augmentation and normalisation run ahead on other threads.
class Loader {
 public:
  // `dataset` must outlive the loader. InvalidArgument, with the field, for options out of range.
  static absl::StatusOr<std::unique_ptr<Loader>> Create(const Dataset* dataset, LoaderOptions options);

  // Stops the threads, also in the middle of the pass.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch, or nullopt after the last one. An error of the data set comes out in the place of the batch that
  // met it, and again from each later call.
  absl::StatusOr<std::optional<Batch>> Next();

  // Of the whole pass.
  int64_t image_count() const;
  int64_t batch_count() const;

  const Dataset& dataset() const;

 private:
  class Impl;
  explicit Loader(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit

#endif  // LOWBIT_DATA_LOADER_H_
