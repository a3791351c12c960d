#ifndef LOWBIT_QUANT_INPUT_STATISTICS_H_
#define LOWBIT_QUANT_INPUT_STATISTICS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/status.h"
#include "model/graph.h"

namespace lowbit {

// First and second moments of what a convolution or linear layer reads, as rows of its matrix product
// (quant/input_rows.h, which also says at which positions of an image). They tell how much an error of the weights
// matters: with E = W - W' of one group, the mean squared error of the outputs, summed over them, is tr(E G E^T).
//
// Streaming, in memory of groups * K * K numbers whatever the number of images. Sums are kept in float64; the products
// of the rows of 64 images at a time, at most 4096, are added in float32. Results do not depend on how the images were
// cut in batches but for such rounding.
class InputStatistics {
 public:
  // `op`: a Conv2d or a Linear. The first image to be observed is counted as number `first_image` of the data.
  explicit InputStatistics(const Op& op, int64_t first_image = 0);

  // Of moments that were computed in another way, over so many rows: gram [groups, K, K], mean [groups, K], float64.
  static InputStatistics FromMoments(const Op& op, at::Tensor gram, at::Tensor mean, int64_t images, int64_t rows);

  // Tensors are handles: a copy would share the sums.
  InputStatistics(InputStatistics&&) = default;
  InputStatistics& operator=(InputStatistics&&) = default;

  // x: float32, [N, C, H, W] ([N, F]), what the layer reads. InvalidArgument, with nothing taken over, if values are
  // NaN or infinite, or if x is not of that shape.
  absl::Status Observe(const at::Tensor& x);

  // The same of rows that were gathered already (GatherInputRows), of so many images.
  absl::Status ObserveRows(const at::Tensor& rows, int64_t images);

  // Adds what `later` saw. Both must be of the same layer; if `later` began to count where this one ended, the result
  // is that of one pass over the whole (up to rounding).
  void Merge(const InputStatistics& later);

  // Whether these are the moments of such a layer: K and the number of groups are the same.
  bool Fits(const Op& op) const;

  int64_t images() const { return images_; }
  int64_t rows() const { return rows_; }
  int64_t groups() const { return sum_squares_.size(0); }
  int64_t row_size() const { return sum_squares_.size(1); }

  // The following need an image; else they end the process.

  // G = mean of x x^T: float64 [groups, K, K], symmetric, no negative eigenvalue but by rounding.
  at::Tensor Gram() const;

  // The mean of x: float64 [groups, K].
  at::Tensor Mean() const;

 private:
  void AddRows(const at::Tensor& rows, int64_t images);

  Op op_;
  int64_t first_image_;
  int64_t images_ = 0;
  int64_t rows_ = 0;
  at::Tensor sum_squares_;  // float64 [groups, K, K]
  at::Tensor sum_;          // float64 [groups, K]
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_INPUT_STATISTICS_H_
