#include "quant/fake_quantize.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "quant/affine.h"
#include "quant/channel_grid.h"
#include "quant/parallel_for.h"
#include "quant/span_kernels.h"

namespace lowbit {
namespace {

// Elements that one thread takes at a time: 128 KiB, some ten microseconds.
constexpr int64_t kChunk = int64_t{1} << 15;

void CheckArguments(const at::Tensor& x, at::ScalarType type, const QuantParams& params) {
  const absl::Status valid = params.Validate();
  LOWBIT_CHECK(valid.ok(), valid.message());
  LOWBIT_CHECK(x.scalar_type() == type && x.device().is_cpu(), "wrong element type or device");
  LOWBIT_CHECK(params.scale.size() == 1 || (x.dim() > 0 && static_cast<int64_t>(params.scale.size()) == x.size(0)),
               params.scale.size(), " scales for a tensor of ", x.dim(), " dimensions");
}

// Whether the memory is one piece in which each index of the first dimension (each channel) is one piece, where that
// matters. True of contiguous and of channels-last tensors.
bool IsDense(const at::Tensor& x, bool per_channel) {
  if (!x.is_non_overlapping_and_dense()) return false;
  return !per_channel || x.numel() == 0 || x.stride(0) * x.size(0) == x.numel();
}

// Calls body(offset, size, channel) for pieces of the memory of a dense tensor, in parallel.
template <typename Body>
void ForEachPiece(int64_t numel, const QuantParams& params, const Body& body) {
  const int64_t channels = static_cast<int64_t>(params.scale.size());
  const int64_t channel_size = numel / channels;
  if (channel_size == 0) return;
  if (channels == 1) {
    ParallelFor((numel + kChunk - 1) / kChunk,
                [&](int64_t i) { body(i * kChunk, std::min(kChunk, numel - i * kChunk), size_t{0}); });
  } else {
    ParallelFor(channels, [&](int64_t c) { body(c * channel_size, channel_size, static_cast<size_t>(c)); });
  }
}

// Of a grid that is not uniform, by channel.
std::vector<ChannelGrid> ChannelGrids(const QuantParams& params) {
  std::vector<ChannelGrid> grids;
  for (size_t c = 0; c < params.scale.size(); ++c) grids.emplace_back(params, c);
  return grids;
}

// What a step of the grid comes out as.
enum class Unit { kScale, kOne };

void FakeQuantizeInto(const at::Tensor& x, at::Tensor& out, const QuantParams& params, Unit unit = Unit::kScale) {
  const auto unit_of = [&](size_t channel) { return unit == Unit::kOne ? 1.0f : params.scale[channel]; };
  const float* const in = x.data_ptr<float>();
  float* const to = out.data_ptr<float>();
  if (!params.is_uniform()) {
    const std::vector<ChannelGrid> grids = ChannelGrids(params);
    ForEachPiece(x.numel(), params, [&](int64_t offset, int64_t size, size_t channel) {
      const ChannelGrid& grid = grids[channel];
      FakeQuantizeLevelsSpan(in + offset, to + offset, size, grid.scale(), grid.zero_point(), grid.levels(),
                             grid.midpoints(), unit_of(channel));
    });
    return;
  }
  const int32_t qmin = params.qmin();
  const int32_t qmax = params.qmax();
  ForEachPiece(x.numel(), params, [&](int64_t offset, int64_t size, size_t channel) {
    FakeQuantizeSpan(in + offset, to + offset, size, params.scale[channel], params.zero_point[channel], qmin, qmax,
                     unit_of(channel));
  });
}

at::Tensor Dense(const at::Tensor& x, const QuantParams& params) {
  return IsDense(x, params.per_channel()) ? x : x.contiguous();
}

}  // namespace

at::Tensor FakeQuantize(const at::Tensor& x, const QuantParams& params) {
  CheckArguments(x, at::kFloat, params);
  const at::Tensor dense = Dense(x, params);
  at::Tensor out = at::empty_like(dense);
  FakeQuantizeInto(dense, out, params);
  return out;
}

at::Tensor FakeQuantizeInPlace(at::Tensor x, const QuantParams& params) {
  CheckArguments(x, at::kFloat, params);
  if (!IsDense(x, params.per_channel())) return FakeQuantize(x, params);
  FakeQuantizeInto(x, x, params);
  return x;
}

at::Tensor FakeQuantizeToStepsInPlace(at::Tensor x, const QuantParams& params) {
  CheckArguments(x, at::kFloat, params);
  LOWBIT_CHECK(!params.per_channel(), "one scale wanted, got ", params.scale.size());
  at::Tensor dense = Dense(x, params);
  FakeQuantizeInto(dense, dense, params, Unit::kOne);
  return dense;
}

at::Tensor Quantize(const at::Tensor& x, const QuantParams& params) {
  CheckArguments(x, at::kFloat, params);
  const at::Tensor dense = Dense(x, params);
  at::Tensor codes = at::empty_like(dense, dense.options().dtype(at::kInt));
  const float* const in = dense.data_ptr<float>();
  int32_t* const out = codes.data_ptr<int32_t>();
  if (!params.is_uniform()) {
    const std::vector<ChannelGrid> grids = ChannelGrids(params);
    ForEachPiece(dense.numel(), params, [&](int64_t offset, int64_t size, size_t channel) {
      for (int64_t i = offset; i < offset + size; ++i) out[i] = grids[channel].Quantize(in[i]);
    });
    return codes;
  }
  const int32_t qmin = params.qmin();
  const int32_t qmax = params.qmax();
  ForEachPiece(dense.numel(), params, [&](int64_t offset, int64_t size, size_t channel) {
    for (int64_t i = offset; i < offset + size; ++i) {
      out[i] = QuantizeValue(in[i], params.scale[channel], params.zero_point[channel], qmin, qmax);
    }
  });
  return codes;
}

at::Tensor Dequantize(const at::Tensor& codes, const QuantParams& params) {
  CheckArguments(codes, at::kInt, params);
  const at::Tensor dense = Dense(codes, params);
  at::Tensor x = at::empty_like(dense, dense.options().dtype(at::kFloat));
  const int32_t* const in = dense.data_ptr<int32_t>();
  float* const out = x.data_ptr<float>();
  if (!params.is_uniform()) {
    const std::vector<ChannelGrid> grids = ChannelGrids(params);
    ForEachPiece(dense.numel(), params, [&](int64_t offset, int64_t size, size_t channel) {
      for (int64_t i = offset; i < offset + size; ++i) out[i] = grids[channel].Dequantize(in[i]);
    });
    return x;
  }
  ForEachPiece(dense.numel(), params, [&](int64_t offset, int64_t size, size_t channel) {
    for (int64_t i = offset; i < offset + size; ++i) {
      out[i] = DequantizeValue(in[i], params.scale[channel], params.zero_point[channel]);
    }
  });
  return x;
}

}  // namespace lowbit
