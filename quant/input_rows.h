#ifndef LOWBIT_QUANT_INPUT_ROWS_H_
#define LOWBIT_QUANT_INPUT_ROWS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/graph.h"

namespace lowbit {

// A layer with a weight as the matrix product that it is: y = W x, for every position of its output one row x of what
// it reads there, K = in_channels / groups * kernel h * kernel w numbers in the order of weight[o].flatten() (of a
// linear layer K = in_features, and there is one position). Zero padding counts as the zeros that it is. Each group of
// a convolution has rows of its own.
//
// A few positions of an image say nearly as much as all of them, so of each image only a lattice is taken: rows h and
// columns w of the output with
//
//   h = n / s, w = n (mod s)      s the smallest step with ceil(H / s) * ceil(W / s) <= 64
//
// where n is the number of the image. So neighbouring images are seen at shifted positions, and s * s images after each
// other at all of them. It depends on neither chance nor batches.
constexpr int64_t kPositionsPerImage = 64;

// The length of a row, K, and the number of groups; of a Conv2d or Linear.
int64_t RowSize(const Op& op);
int64_t RowGroups(const Op& op);

// The rows of x, float32 [N, C, H, W] ([N, F]) on the CPU, what the layer reads; its first image has the number
// `first_image`. float32 [groups, rows, K].
at::Tensor GatherInputRows(const Op& op, const at::Tensor& x, int64_t first_image);

// Of y, [N, O, H, W] ([N, O]), of the shape that the layer puts out, the values at the same positions in the same
// order: float32 [groups, rows, O / groups].
at::Tensor GatherOutputRows(const Op& op, const at::Tensor& y, int64_t first_image);

// InvalidArgument if values of x are NaN or infinite: `3 of 16384 values are NaN or infinite`, with `what` for
// "values".
absl::Status CheckFinite(const at::Tensor& x, absl::string_view what = "values");

// Whether sums of products with such numbers might leave the range of float32: some |x| is larger than 1e16. Such rows
// are multiplied in float64.
bool HasLargeValues(const at::Tensor& x);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_INPUT_ROWS_H_
