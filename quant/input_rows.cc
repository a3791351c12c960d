#include "quant/input_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "quant/parallel_for.h"

namespace lowbit {
namespace {

// The positions of one image are an evenly spaced lattice.
struct Lattice {
  int64_t height, width, step;

  static Lattice Of(int64_t height, int64_t width) {
    int64_t step = 1;
    while (((height + step - 1) / step) * ((width + step - 1) / step) > kPositionsPerImage) ++step;
    return Lattice{height, width, step};
  }

  int64_t first_row(int64_t image) const { return image / step % std::min(step, height); }
  int64_t first_column(int64_t image) const { return image % std::min(step, width); }
  int64_t Positions(int64_t image) const { return Count(height, first_row(image)) * Count(width, first_column(image)); }

  // Calls body(row of the output, column, number of the position) for each.
  template <typename Body>
  void ForEach(int64_t image, const Body& body) const {
    int64_t number = 0;
    for (int64_t h = first_row(image); h < height; h += step) {
      for (int64_t w = first_column(image); w < width; w += step) body(h, w, number++);
    }
  }

 private:
  int64_t Count(int64_t size, int64_t first) const { return (size - first + step - 1) / step; }
};

// What a linear layer is as a convolution: 1x1, on images of one pixel.
Conv2d AsConv(const Op& op) {
  if (const auto* conv = std::get_if<Conv2d>(&op)) return *conv;
  const auto* linear = std::get_if<Linear>(&op);
  LOWBIT_CHECK(linear != nullptr, "a ", OpName(op), " layer has no weight");
  Conv2d conv;
  conv.in_channels = linear->in_features;
  conv.out_channels = linear->out_features;
  return conv;
}

int64_t OutputSize(int64_t size, const Conv2d& conv, size_t dimension) {
  const int64_t reach = conv.dilation[dimension] * (conv.kernel[dimension] - 1) + 1;
  return (size + 2 * conv.padding[dimension] - reach) / conv.stride[dimension] + 1;
}

// Where the rows of each image begin, and at the end how many there are.
std::vector<int64_t> FirstRows(const Lattice& lattice, int64_t images, int64_t first_image) {
  std::vector<int64_t> first = {0};
  for (int64_t n = 0; n < images; ++n) first.push_back(first.back() + lattice.Positions(first_image + n));
  return first;
}

// The numbers under the kernel at one position; `image` begins at the group's first channel.
void CopyWindow(const float* image, int64_t height, int64_t width, const Conv2d& conv, int64_t top, int64_t left,
                float* to) {
  const int64_t channels = conv.in_channels / conv.groups;
  for (int64_t c = 0; c < channels; ++c) {
    const float* const plane = image + c * height * width;
    for (int64_t i = 0; i < conv.kernel[0]; ++i) {
      const int64_t h = top + i * conv.dilation[0];
      for (int64_t j = 0; j < conv.kernel[1]; ++j) {
        const int64_t w = left + j * conv.dilation[1];
        *to++ = h >= 0 && h < height && w >= 0 && w < width ? plane[h * width + w] : 0.0f;
      }
    }
  }
}

}  // namespace

int64_t RowSize(const Op& op) {
  const Conv2d conv = AsConv(op);
  return conv.in_channels / conv.groups * conv.kernel[0] * conv.kernel[1];
}

int64_t RowGroups(const Op& op) { return AsConv(op).groups; }

at::Tensor GatherInputRows(const Op& op, const at::Tensor& x, int64_t first_image) {
  const Conv2d conv = AsConv(op);
  LOWBIT_CHECK(x.scalar_type() == at::kFloat && (x.dim() == 4 || x.dim() == 2) && x.size(1) == conv.in_channels,
               "not what the layer reads");
  const at::Tensor dense = x.contiguous();
  const float* const images = dense.data_ptr<float>();
  const int64_t height = x.dim() == 4 ? x.size(2) : 1;
  const int64_t width = x.dim() == 4 ? x.size(3) : 1;
  const Lattice lattice = Lattice::Of(OutputSize(height, conv, 0), OutputSize(width, conv, 1));
  const std::vector<int64_t> first_row = FirstRows(lattice, x.size(0), first_image);
  const int64_t size = RowSize(op);
  at::Tensor rows = at::empty({conv.groups, first_row.back(), size}, at::kFloat);
  float* const out = rows.data_ptr<float>();
  ParallelFor(x.size(0), [&](int64_t n) {
    for (int64_t g = 0; g < conv.groups; ++g) {
      const int64_t channel = n * conv.in_channels + g * (conv.in_channels / conv.groups);
      float* const to = out + (g * first_row.back() + first_row[static_cast<size_t>(n)]) * size;
      lattice.ForEach(first_image + n, [&](int64_t h, int64_t w, int64_t position) {
        CopyWindow(images + channel * height * width, height, width, conv, h * conv.stride[0] - conv.padding[0],
                   w * conv.stride[1] - conv.padding[1], to + position * size);
      });
    }
  });
  return rows;
}

at::Tensor GatherOutputRows(const Op& op, const at::Tensor& y, int64_t first_image) {
  Conv2d pixels = AsConv(op);  // a 1x1 convolution reads what it puts out
  pixels.in_channels = pixels.out_channels;
  pixels.kernel = pixels.stride = pixels.dilation = {1, 1};
  pixels.padding = {0, 0};
  return GatherInputRows(pixels, y, first_image);
}

absl::Status CheckFinite(const at::Tensor& x, absl::string_view what) {
  const int64_t finite = at::isfinite(x).sum().item<int64_t>();
  if (finite == x.numel()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(x.numel() - finite, " of ", x.numel(), " ", what, " are NaN or infinite"));
}

bool HasLargeValues(const at::Tensor& x) {
  constexpr float kLargest = 1e16f;
  return x.numel() > 0 && x.abs().max().item<float>() > kLargest;
}

}  // namespace lowbit
