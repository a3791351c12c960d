#include "runtime/plain_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lowbit {
namespace {

template <typename F>
void ForEach(const PlanTensor& tensor, const F& f) {
  for (int64_t y = 0; y < tensor.height; ++y) {
    for (int64_t x = 0; x < tensor.width; ++x) {
      for (int64_t c = 0; c < tensor.channels; ++c) f(y, x, c);
    }
  }
}

// x clamped to [low, high], NaN to low, then rounded half to even: so small that 1.5 * 2^23 leaves no bit for a
// fraction.
inline float ClampAndRound(float x, float low, float high) {
  constexpr float kRoundToWhole = 12582912.0f;
  const float raised = x > low ? x : low;
  return (std::min(raised, high) + kRoundToWhole) - kRoundToWhole;
}

// Quantizes floats onto a uniform grid: QuantizeValue of quant/affine.h, many numbers at a time, as the compiler can
// vectorize it.
void QuantizeFloats(const TensorRef& input, const TensorRef& output) {
  constexpr int64_t kChunk = 256;
  const PlanTensor& tensor = *output.tensor;
  const float scale = tensor.grid->scale();
  const float zero_point = tensor.grid->zero_point();
  const float low = static_cast<float>(tensor.grid->qmin());
  const float high = static_cast<float>(tensor.grid->qmax());
  const int64_t channels = tensor.channels;
  for (int64_t y = 0; y < tensor.height; ++y) {
    const float* const from = input.floats() + input.At(y, 0);  // pixels of floats follow each other
    uint8_t* const to = output.codes() + output.At(y, 0);
    int64_t pixel = 0, channel = 0;
    for (int64_t start = 0; start < tensor.width * channels; start += kChunk) {
      const int64_t count = std::min(kChunk, tensor.width * channels - start);
      int32_t codes[kChunk];
      for (int64_t i = 0; i < count; ++i) {
        codes[i] = static_cast<int32_t>(ClampAndRound(from[start + i] / scale + zero_point, low, high) - low);
      }
      for (int64_t i = 0; i < count; ++i) {
        to[pixel + channel] = static_cast<uint8_t>(codes[i]);
        if (++channel == channels) {
          channel = 0;
          pixel += output.layout.pixel;
        }
      }
    }
  }
}

void AddAndClear(uint32_t* part, int64_t count, int64_t* sums) {
  for (int64_t i = 0; i < count; ++i) {
    sums[i] += part[i];
    part[i] = 0;
  }
}

struct RunOp {
  const PlainOp& op;
  const TensorRef* inputs;
  const TensorRef& output;

  const TensorRef& x() const { return inputs[0]; }

  template <typename F>
  void Map(const F& f) const {
    ForEach(*output.tensor, [&](int64_t y, int64_t x, int64_t c) { output.Write(y, x, c, f(y, x, c)); });
  }

  void operator()(const Input&) const {
    const PlanTensor& tensor = *output.tensor;
    if (!x().layout.is_codes && tensor.is_codes && tensor.levels.empty()) return QuantizeFloats(x(), output);
    Map([&](int64_t y, int64_t column, int64_t c) { return x().Read(y, column, c); });
  }

  void operator()(const Relu&) const {
    Map([&](int64_t y, int64_t column, int64_t c) { return std::max(x().Read(y, column, c), 0.0f); });
  }

  void operator()(const Add&) const {
    Map([&](int64_t y, int64_t column, int64_t c) { return x().Read(y, column, c) + inputs[1].Read(y, column, c); });
  }

  void operator()(const BatchNorm&) const {
    Map([&](int64_t y, int64_t column, int64_t c) {
      const float scaled = x().Read(y, column, c) * op.multiplier[static_cast<size_t>(c)];
      return scaled + op.bias[static_cast<size_t>(c)];
    });
  }

  void operator()(const Subsample& subsample) const {
    Map([&](int64_t y, int64_t column, int64_t c) {
      return x().Read(y * subsample.stride[0], column * subsample.stride[1], c);
    });
  }

  void operator()(const PadChannels& pad) const {
    Map([&](int64_t y, int64_t column, int64_t c) {
      const int64_t from = c - pad.before;
      return from >= 0 && from < x().tensor->channels ? x().Read(y, column, from) : 0.0f;
    });
  }

  // [C, H, W] in this order.
  void operator()(const Flatten&) const {
    const PlanTensor& from = *x().tensor;
    Map([&](int64_t, int64_t, int64_t i) {
      return x().Read(i / from.width % from.height, i % from.width, i / (from.height * from.width));
    });
  }

  void operator()(const GlobalAvgPool&) const {
    constexpr int64_t kTogether = 64;
    const PlanTensor& from = *x().tensor;
    for (int64_t first = 0; first < from.channels; first += kTogether) {
      const int64_t count = std::min(kTogether, from.channels - first);
      double sums[kTogether] = {};
      for (int64_t y = 0; y < from.height; ++y) {
        for (int64_t column = 0; column < from.width; ++column) {
          for (int64_t c = 0; c < count; ++c) sums[c] += static_cast<double>(x().Read(y, column, first + c));
        }
      }
      for (int64_t c = 0; c < count; ++c) {
        output.Write(0, 0, first + c, static_cast<float>(sums[c] / static_cast<double>(from.height * from.width)));
      }
    }
  }

  // f(the number) of those in the window that lie inside.
  template <typename Pool, typename F>
  void Window(const Pool& pool, int64_t y, int64_t column, int64_t c, const F& f) const {
    for (int64_t ky = 0; ky < pool.kernel[0]; ++ky) {
      for (int64_t kx = 0; kx < pool.kernel[1]; ++kx) {
        const int64_t from_y = y * pool.stride[0] - pool.padding[0] + ky;
        const int64_t from_x = column * pool.stride[1] - pool.padding[1] + kx;
        if (from_y < 0 || from_y >= x().tensor->height || from_x < 0 || from_x >= x().tensor->width) continue;
        f(x().Read(from_y, from_x, c));
      }
    }
  }

  void operator()(const AvgPool& pool) const {
    Map([&](int64_t y, int64_t column, int64_t c) {
      double sum = 0;
      Window(pool, y, column, c, [&](float value) { sum += static_cast<double>(value); });
      return static_cast<float>(sum / static_cast<double>(pool.kernel[0] * pool.kernel[1]));
    });
  }

  void operator()(const MaxPool& pool) const {
    Map([&](int64_t y, int64_t column, int64_t c) {
      float highest = -std::numeric_limits<float>::infinity();
      Window(pool, y, column, c, [&](float value) { highest = std::max(highest, value); });
      return highest;
    });
  }

  void operator()(const Conv2d&) const {}  // these two are ConvOp or FloatConvOp
  void operator()(const Linear&) const {}
};

}  // namespace

void TensorRef::Write(int64_t y, int64_t x, int64_t c, float value) const {
  const int64_t at = At(y, x) + c;
  if (!tensor->grid.has_value()) {
    floats()[at] = value;
  } else if (!layout.is_codes) {
    floats()[at] = tensor->grid->FakeQuantize(value);
  } else {
    // NaN, which only a broken network makes, has no code; QuantizeFloats takes the lowest one too.
    const int32_t q = std::isnan(value) ? tensor->grid->qmin() : tensor->grid->Quantize(value);
    const int32_t level = tensor->levels.empty() ? q : tensor->levels[static_cast<size_t>(q - tensor->grid->qmin())];
    codes()[at] = static_cast<uint8_t>(level - tensor->lowest_level);
  }
}

void RunPlain(const PlainOp& op, const TensorRef* inputs, const TensorRef& output) {
  std::visit(RunOp{op, inputs, output}, op.op);
}

void RunFloatConv(const FloatConvOp& op, const TensorRef& input, const TensorRef& output) {
  const Conv2d& g = op.geometry;
  const int64_t channels = g.in_channels / g.groups;
  ForEach(*output.tensor, [&](int64_t y, int64_t x, int64_t o) {
    const float* weight = op.weight.data() + o * g.kernel[0] * g.kernel[1] * channels;
    const int64_t first_channel = o / (g.out_channels / g.groups) * channels;
    float sum = 0;
    for (int64_t ky = 0; ky < g.kernel[0]; ++ky) {
      for (int64_t kx = 0; kx < g.kernel[1]; ++kx, weight += channels) {
        const int64_t from_y = y * g.stride[0] - g.padding[0] + ky * g.dilation[0];
        const int64_t from_x = x * g.stride[1] - g.padding[1] + kx * g.dilation[1];
        if (from_y < 0 || from_y >= input.tensor->height || from_x < 0 || from_x >= input.tensor->width) continue;
        for (int64_t c = 0; c < channels; ++c) sum += weight[c] * input.Read(from_y, from_x, first_channel + c);
      }
    }
    output.Write(y, x, o, sum + op.bias[static_cast<size_t>(o)]);
  });
}

void RunGlobalMean(const GlobalMeanOp& op, const TensorRef& input, const TensorRef& output) {
  constexpr int64_t kTogether = 64;
  const PlanTensor& from = *input.tensor;
  for (int64_t first = 0; first < from.channels; first += kTogether) {
    const int64_t count = std::min(kTogether, from.channels - first);
    int64_t sums[kTogether] = {};
    for (int64_t y = 0; y < from.height; ++y) {
      uint32_t of_row[kTogether] = {};
      for (int64_t x = 0; x < from.width; ++x) {
        const uint8_t* const codes = input.codes() + input.At(y, x) + first;
        for (int64_t c = 0; c < count; ++c) of_row[c] += codes[c];
        if ((x + 1) % (1 << 20) == 0) AddAndClear(of_row, count, sums);
      }
      AddAndClear(of_row, count, sums);
    }
    for (int64_t c = 0; c < count; ++c) {
      float v = static_cast<float>(sums[c]) * op.multiplier;
      v = v + op.bias;
      const int64_t at = output.At(0, 0) + first + c;
      if (output.layout.is_codes) {
        const float clamped = std::min(std::max(v, op.lower), op.upper);
        output.codes()[at] = static_cast<uint8_t>(std::nearbyint(clamped));
      } else {
        output.floats()[at] = std::max(v, op.lower);
      }
    }
  }
}

}  // namespace lowbit
