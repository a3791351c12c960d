#include "quant/input_statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "quant/input_rows.h"

namespace lowbit {
namespace {

// Images whose rows are multiplied at a time.
constexpr int64_t kChunk = 64;

// Columns of a block of the product. Only blocks on and above the diagonal are computed: the product is symmetric.
constexpr int64_t kBlock = 192;

// x^T x, of x [rows, K], added to the upper triangle of `sum`.
void AddProduct(const at::Tensor& x, at::Tensor sum) {
  const int64_t size = x.size(1);
  const at::Tensor transposed = x.t();
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t block = std::min(kBlock, size - begin);
    const at::Tensor product = at::mm(transposed.narrow(0, begin, block), x.narrow(1, begin, size - begin));
    sum.narrow(0, begin, block).narrow(1, begin, size - begin).add_(product);
  }
}

}  // namespace

InputStatistics::InputStatistics(const Op& op, int64_t first_image)
    : op_(op),
      first_image_(first_image),
      sum_squares_(at::zeros({RowGroups(op), RowSize(op), RowSize(op)}, at::kDouble)),
      sum_(at::zeros({RowGroups(op), RowSize(op)}, at::kDouble)) {}

InputStatistics InputStatistics::FromMoments(const Op& op, at::Tensor gram, at::Tensor mean, int64_t images,
                                             int64_t rows) {
  InputStatistics statistics(op);
  LOWBIT_CHECK(gram.scalar_type() == at::kDouble && gram.sizes() == statistics.sum_squares_.sizes() &&
                   mean.scalar_type() == at::kDouble && mean.sizes() == statistics.sum_.sizes() && rows > 0,
               "moments of another layer");
  statistics.sum_squares_ = gram * static_cast<double>(rows);
  statistics.sum_ = mean * static_cast<double>(rows);
  statistics.images_ = images;
  statistics.rows_ = rows;
  return statistics;
}

absl::Status InputStatistics::Observe(const at::Tensor& x) {
  const auto* conv = std::get_if<Conv2d>(&op_);
  const int64_t channels = conv != nullptr ? conv->in_channels : std::get<Linear>(op_).in_features;
  if (x.scalar_type() != at::kFloat || x.dim() != (conv != nullptr ? 4 : 2) || x.size(1) != channels) {
    return absl::InvalidArgumentError(absl::StrCat("expected Float [N, ", channels, conv != nullptr ? ", H, W" : "",
                                                   "], got ", c10::toString(x.scalar_type()), " ",
                                                   ShapeToString(x.sizes().vec())));
  }
  LOWBIT_RETURN_IF_ERROR(CheckFinite(x));
  // Chunks begin at multiples of their size, however the images come in batches.
  for (int64_t begin = 0; begin < x.size(0);) {
    const int64_t number = first_image_ + images_;
    const int64_t count = std::min(kChunk - number % kChunk, x.size(0) - begin);
    AddRows(GatherInputRows(op_, x.narrow(0, begin, count), number), count);
    begin += count;
  }
  return absl::OkStatus();
}

absl::Status InputStatistics::ObserveRows(const at::Tensor& rows, int64_t images) {
  LOWBIT_CHECK(rows.dim() == 3 && rows.size(0) == groups() && rows.size(2) == row_size(), "rows of another layer");
  LOWBIT_RETURN_IF_ERROR(CheckFinite(rows));
  AddRows(rows, images);
  return absl::OkStatus();
}

void InputStatistics::AddRows(const at::Tensor& rows, int64_t images) {
  const at::Tensor x = HasLargeValues(rows) ? rows.to(at::kDouble) : rows;
  for (int64_t g = 0; g < groups(); ++g) {
    AddProduct(x[g], sum_squares_[g]);
    sum_[g].add_(x[g].sum(/*dim=*/0, /*keepdim=*/false, at::kDouble));
  }
  images_ += images;
  rows_ += rows.size(1);
}

void InputStatistics::Merge(const InputStatistics& later) {
  LOWBIT_CHECK(later.sum_squares_.sizes() == sum_squares_.sizes(), "moments of another layer");
  sum_squares_ = sum_squares_ + later.sum_squares_;
  sum_ = sum_ + later.sum_;
  images_ += later.images_;
  rows_ += later.rows_;
}

bool InputStatistics::Fits(const Op& op) const {
  return HasWeight(op) && RowGroups(op) == groups() && RowSize(op) == row_size();
}

at::Tensor InputStatistics::Gram() const {
  LOWBIT_CHECK(rows_ > 0, "no image was observed");
  const at::Tensor upper = sum_squares_.triu();
  return (upper + sum_squares_.triu(1).transpose(1, 2)) / static_cast<double>(rows_);
}

at::Tensor InputStatistics::Mean() const {
  LOWBIT_CHECK(rows_ > 0, "no image was observed");
  return sum_ / static_cast<double>(rows_);
}

}  // namespace lowbit
