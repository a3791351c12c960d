#include "learning/learned_weight.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "quant/affine.h"
#include "quant/channel_grid.h"
#include "quant/parallel_for.h"

namespace lowbit {
namespace {

// The stretched sigmoid's ends, zeta and gamma in the paper.
constexpr float kHigh = 1.1f;
constexpr float kLow = -0.1f;

// Between these a rounding counts as undecided.
constexpr float kUndecided = 0.05f;

// How far from the chosen code one begins that is held there.
constexpr float kHeld = 0.04f;

// h at a bound, as where it begins at one, is not beyond it, whatever the exponential's last bit.
constexpr float kBoundSlack = 1e-6f;

// Of what a scale began with.
constexpr float kSmallestFactor = 0.1f;

float Sigmoid(float v) { return 1.0f / (1.0f + std::exp(-v)); }
float Stretched(float sigmoid) { return std::clamp((kHigh - kLow) * sigmoid + kLow, 0.0f, 1.0f); }

// The V with h(V) = h.
float InverseStretched(float h) { return -std::log((kHigh - kLow) / (h - kLow) - 1.0f); }

at::Tensor ZeroLeaf(at::IntArrayRef shape) { return at::zeros(shape, at::kFloat).set_requires_grad(true); }

std::vector<float> Values(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  return {dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel()};
}

std::vector<int32_t> Codes(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  return {dense.data_ptr<int32_t>(), dense.data_ptr<int32_t>() + dense.numel()};
}

class UpOrDown : public LearnedWeight {
 public:
  UpOrDown(const at::Tensor& weight, const QuantizedTensor& start, double hold)
      : LearnedWeight(start, {ZeroLeaf(weight.sizes())}),
        low_(static_cast<size_t>(size())),
        step_(low_.size()),
        sigmoid_(at::empty(weight.sizes(), at::kFloat)),
        low_code_(low_.size()),
        high_code_(low_.size()) {
    const std::vector<float> w = Values(weight);
    const std::vector<int32_t> codes = Codes(start.codes);
    float* const v = rounding_data();
    for (size_t i = 0; i < w.size(); ++i) {
      const int64_t channel = static_cast<int64_t>(i) / channel_size();
      const Grid& grid = this->grid(channel);
      const size_t chosen = grid.IndexOf(codes[i]);
      const float x = w[i] / scale(channel);
      const bool upwards = chosen + 1 < grid.size() && (chosen == 0 || x >= grid.Value(chosen));
      const size_t low = upwards ? chosen : chosen - 1;
      low_[i] = grid.Value(low);
      step_[i] = grid.Value(low + 1) - grid.Value(low);
      low_code_[i] = grid.Code(low);
      high_code_[i] = grid.Code(low + 1);
      const float place = std::clamp((x - low_[i]) / step_[i], 0.0f, 1.0f);
      const float held = upwards ? kHeld : 1 - kHeld;
      v[i] = InverseStretched(place + static_cast<float>(hold) * (held - place));
    }
  }

  void Write(at::Tensor& value) const override {
    // (LibTorch's exponential takes many at a time.)
    at::sigmoid_out(sigmoid_, rounding().front().detach());
    const float* const sigmoid = sigmoid_.data_ptr<float>();
    float* const out = value.data_ptr<float>();
    ParallelFor(channels(), [&](int64_t c) {
      const float s = scale(c);
      for (int64_t i = c * channel_size(); i < (c + 1) * channel_size(); ++i) {
        const size_t k = static_cast<size_t>(i);
        out[i] = s * (low_[k] + Stretched(sigmoid[i]) * step_[k]);
      }
    });
  }

  void Back(const at::Tensor& gradient) override {
    const float* const g = gradient.data_ptr<float>();
    const float* const sigmoid = sigmoid_.data_ptr<float>();
    float* const grad_v = NewGradient(rounding().front());
    std::vector<double> sums(static_cast<size_t>(channels()));
    ParallelFor(channels(), [&](int64_t c) {
      const float s = scale(c);
      double sum = 0;
      for (int64_t i = c * channel_size(); i < (c + 1) * channel_size(); ++i) {
        const size_t k = static_cast<size_t>(i);
        const float h = (kHigh - kLow) * sigmoid[i] + kLow;
        const bool open = h >= -kBoundSlack && h <= 1 + kBoundSlack;
        grad_v[i] = open ? g[i] * s * step_[k] * (kHigh - kLow) * sigmoid[i] * (1 - sigmoid[i]) : 0.0f;
        sum += static_cast<double>(g[i] * (low_[k] + std::clamp(h, 0.0f, 1.0f) * step_[k]));
      }
      sums[static_cast<size_t>(c)] = sum;
    });
    SetScaleGradient(sums);
  }

  // With d = 2 h - 1:  d/dV (1 - |d|^b) = -2 b |d|^(b - 1) sign(d) h'(V)
  double Regularize(double weight, double sharpness) override {
    const float* const sigmoid = sigmoid_.data_ptr<float>();
    float* const grad_v = rounding().front().grad().data_ptr<float>();
    const at::Tensor powers = sigmoid_.mul(2 * (kHigh - kLow)).add_(2 * kLow - 1).abs_().pow_(sharpness - 1);
    const float* const power = powers.data_ptr<float>();
    const float factor = static_cast<float>(-2 * weight * sharpness);
    std::vector<double> sums(static_cast<size_t>(channels()));
    ParallelFor(channels(), [&](int64_t c) {
      double sum = 0;
      for (int64_t i = c * channel_size(); i < (c + 1) * channel_size(); ++i) {
        const float h = (kHigh - kLow) * sigmoid[i] + kLow;
        if (h <= 0 || h >= 1) continue;
        const float d = 2 * h - 1;
        sum += 1 - static_cast<double>(power[i] * std::abs(d));
        grad_v[i] += factor * std::copysign(power[i], d) * (kHigh - kLow) * sigmoid[i] * (1 - sigmoid[i]);
      }
      sums[static_cast<size_t>(c)] = sum;
    });
    double sum = 0;
    for (const double part : sums) sum += part;
    return sum;
  }

  int64_t Undecided() const override {
    const float* const v = rounding_data();
    return std::count_if(v, v + size(), [](float x) {
      const float h = Stretched(Sigmoid(x));
      return h > kUndecided && h < 1 - kUndecided;
    });
  }

  QuantizedTensor Harden() const override {
    const float* const v = rounding_data();
    std::vector<int32_t> codes(low_.size());
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = v[i] >= 0 ? high_code_[i] : low_code_[i];
    return Result(codes);
  }

 private:
  std::vector<float> low_, step_;  // in units of the scale
  mutable at::Tensor sigmoid_;     // of V, from Write() for the rest of a step
  std::vector<int32_t> low_code_, high_code_;
};

// value = scale q(u) with u = latent / (scale exp(D)): what MakeDivided and MakeLatent have in common.
class AnyCode : public LearnedWeight {
 public:
  void Write(at::Tensor& value) const override {
    float* const out = value.data_ptr<float>();
    ParallelFor(channels(), [&](int64_t c) {
      const Grid& grid = this->grid(c);
      const float s = scale(c);
      float* to = out + c * channel_size();
      for (const float u : Places(c)) *to++ = s * grid.Value(grid.Nearest(u));
    });
  }

  QuantizedTensor Harden() const override {
    std::vector<int32_t> codes;
    for (int64_t c = 0; c < channels(); ++c) {
      for (const float u : Places(c)) codes.push_back(grid(c).Code(grid(c).Nearest(u)));
    }
    return Result(codes);
  }

 protected:
  using LearnedWeight::LearnedWeight;

  // u of the weights of channel c.
  virtual std::vector<float> Places(int64_t c) const = 0;

  // Calls each(i, c, g, u, inside) for every weight of a channel, channels in parallel, and sets the gradient of the
  // scales: g (q - (inside ? u : 0)).
  template <typename Each>
  void BackEach(const at::Tensor& gradient, const Each& each) {
    const float* const g = gradient.data_ptr<float>();
    std::vector<double> sums(static_cast<size_t>(channels()));
    ParallelFor(channels(), [&](int64_t c) {
      const Grid& grid = this->grid(c);
      double sum = 0;
      int64_t i = c * channel_size();
      for (const float u : Places(c)) {
        const bool inside = grid.Inside(u);
        sum += static_cast<double>(g[i] * (grid.Value(grid.Nearest(u)) - (inside ? u : 0.0f)));
        each(i, c, g[i], u, inside);
        ++i;
      }
      sums[static_cast<size_t>(c)] = sum;
    });
    SetScaleGradient(sums);
  }
};

class Divided : public AnyCode {
 public:
  Divided(const at::Tensor& weight, const QuantizedTensor& start)
      : AnyCode(start, {ZeroLeaf(weight.sizes()), ZeroLeaf({weight.size(0)}), ZeroLeaf({weight.size(1)})}),
        weight_(Values(weight)),
        inputs_(weight.size(1)),
        input_size_(channel_size() / weight.size(1)) {
    const std::vector<int32_t> codes = Codes(start.codes);
    for (size_t i = 0; i < weight_.size(); ++i) {
      const int64_t channel = static_cast<int64_t>(i) / channel_size();
      const Grid& grid = this->grid(channel);
      const float x = weight_[i] / scale(channel);
      rounding_data()[i] = DivisorOf(x, grid.IndexOf(codes[i]), grid);
    }
  }

  void Back(const at::Tensor& gradient) override {
    float* const grad_d = NewGradient(rounding()[0]);
    float* const grad_row = NewGradient(rounding()[1]);
    float* const grad_input = NewGradient(rounding()[2]);
    // d value / d D = -scale u inside of the grid
    BackEach(gradient, [&](int64_t i, int64_t c, float g, float u, bool inside) {
      grad_d[i] = inside ? -g * scale(c) * u : 0.0f;
      grad_row[c] += grad_d[i];
    });
    for (int64_t i = 0; i < size(); ++i) grad_input[InputOf(i)] += grad_d[i];
  }

 private:
  int64_t InputOf(int64_t i) const { return i / input_size_ % inputs_; }

  // The D with which x / exp(D) is rounded to the chosen value: 0 if it is the nearest one, or if x cannot come there.
  static float DivisorOf(float x, size_t chosen, const Grid& grid) {
    if (grid.Nearest(x) == chosen) return 0;
    float wanted = grid.Value(chosen);
    if (wanted == 0) {  // a quarter of the way to the next value on the side of x
      const bool is_last = x > 0 ? chosen + 1 == grid.size() : chosen == 0;
      wanted = is_last ? 0 : 0.25f * grid.Value(x > 0 ? chosen + 1 : chosen - 1);
    }
    return x * wanted > 0 ? std::log(x / wanted) : 0;
  }

  std::vector<float> Places(int64_t c) const override {
    std::vector<float> places;
    places.reserve(static_cast<size_t>(channel_size()));
    for (int64_t i = c * channel_size(); i < (c + 1) * channel_size(); ++i) {
      const float d = rounding_data(0)[i] + rounding_data(1)[c] + rounding_data(2)[InputOf(i)];
      places.push_back(weight_[static_cast<size_t>(i)] / (scale(c) * std::exp(d)));
    }
    return places;
  }

  const std::vector<float> weight_;
  const int64_t inputs_, input_size_;
};

// latent: the float weight over the scale that it began with.
class Latent : public AnyCode {
 public:
  Latent(const at::Tensor& weight, const QuantizedTensor& start, double hold)
      : AnyCode(start, {ZeroLeaf(weight.sizes())}), start_scales_(start.params.scale) {
    const std::vector<float> w = Values(weight);
    const std::vector<int32_t> codes = Codes(start.codes);
    float* const latent = rounding_data();
    for (size_t i = 0; i < w.size(); ++i) {
      const int64_t c = static_cast<int64_t>(i) / channel_size();
      const size_t chosen = grid(c).IndexOf(codes[i]);
      const float x = w[i] / scale(c);
      const float held = grid(c).Value(chosen);
      latent[i] = grid(c).Nearest(x) == chosen ? x + static_cast<float>(hold) * (held - x) : held;
    }
  }

  // d value / d latent = start scale, inside of the grid
  void Back(const at::Tensor& gradient) override {
    float* const grad = NewGradient(rounding().front());
    BackEach(gradient, [&](int64_t i, int64_t c, float g, float, bool inside) {
      grad[i] = inside ? g * start_scales_[GridIndex(c)] : 0.0f;
    });
  }

 private:
  std::vector<float> Places(int64_t c) const override {
    const float* const latent = rounding_data() + c * channel_size();
    const float factor = start_scales_[GridIndex(c)] / scale(c);
    std::vector<float> places(latent, latent + channel_size());
    for (float& u : places) u *= factor;
    return places;
  }

  const std::vector<float> start_scales_;
};

class AsChosen : public LearnedWeight {
 public:
  explicit AsChosen(const QuantizedTensor& start)
      : LearnedWeight(start, {ZeroLeaf(start.codes.sizes())}), codes_(Codes(start.codes)) {}

  void Write(at::Tensor& value) const override {
    float* const out = value.data_ptr<float>();
    ParallelFor(channels(), [&](int64_t c) {
      const float s = scale(c);
      for (int64_t i = c * channel_size(); i < (c + 1) * channel_size(); ++i) out[i] = s * Level(i, c);
    });
  }

  void Back(const at::Tensor& gradient) override {
    const float* const g = gradient.data_ptr<float>();
    NewGradient(rounding().front());
    std::vector<double> sums(static_cast<size_t>(channels()));
    ParallelFor(channels(), [&](int64_t c) {
      double sum = 0;
      for (int64_t i = c * channel_size(); i < (c + 1) * channel_size(); ++i) {
        sum += static_cast<double>(g[i] * Level(i, c));
      }
      sums[static_cast<size_t>(c)] = sum;
    });
    SetScaleGradient(sums);
  }

  QuantizedTensor Harden() const override { return Result(codes_); }

 private:
  // Less the zero point.
  float Level(int64_t i, int64_t c) const {
    const Grid& grid = this->grid(c);
    return grid.Value(grid.IndexOf(codes_[static_cast<size_t>(i)]));
  }

  const std::vector<int32_t> codes_;
};

}  // namespace

LearnedWeight::~LearnedWeight() = default;

double LearnedWeight::Regularize(double, double) { return 0; }

int64_t LearnedWeight::Undecided() const { return 0; }

LearnedWeight::LearnedWeight(const QuantizedTensor& start, std::vector<at::Tensor> rounding)
    : start_(start.params), rounding_(std::move(rounding)), size_(rounding_.front().numel()) {
  const absl::Status valid = start_.Validate();
  LOWBIT_CHECK(valid.ok() && start.codes.sizes() == rounding_.front().sizes(), valid.message(),
               " (a weight that does not fit its start)");
  for (size_t c = 0; c < start_.scale.size(); ++c) grids_.push_back(MakeGrid(c));
  scale_factor_ = at::ones({static_cast<int64_t>(start_.scale.size())}, at::kFloat).set_requires_grad(true);
}

LearnedWeight::Grid LearnedWeight::MakeGrid(size_t c) const {
  const ChannelGrid channel(start_, c);
  Grid grid{start_.is_uniform(), channel.zero_point(), channel.qmin(), channel.qmax(), {}, {}, {}};
  if (grid.is_uniform) return grid;
  std::vector<std::pair<float, int32_t>> values;
  for (int32_t q = grid.qmin; q <= grid.qmax; ++q) values.emplace_back(channel.Dequantize(q) / channel.scale(), q);
  std::sort(values.begin(), values.end());
  grid.index_of_code.resize(values.size());
  for (const auto& [value, code] : values) {
    if (grid.values.empty() || value > grid.values.back()) {
      grid.values.push_back(value);
      grid.codes.push_back(code);
    }
    grid.index_of_code[static_cast<size_t>(code - grid.qmin)] = grid.values.size() - 1;
  }
  return grid;
}

size_t LearnedWeight::Grid::Nearest(float x) const {
  // A NaN, which has no code, counts as the lowest.
  if (is_uniform) return std::isnan(x) ? 0 : IndexOf(QuantizeValue(x, 1.0f, zero_point, qmin, qmax));
  const auto above = std::lower_bound(values.begin(), values.end(), x);
  if (above == values.begin()) return 0;
  const size_t i = static_cast<size_t>(above - values.begin());
  if (i == values.size()) return i - 1;
  const float to_lower = x - values[i - 1], to_upper = values[i] - x;
  return to_lower <= to_upper ? i - 1 : i;
}

bool LearnedWeight::Grid::Inside(float x) const {
  const float slack = size() == 2 ? 0.5f * (Value(1) - Value(0)) : 0.0f;
  return x >= Value(0) - slack && x <= Value(size() - 1) + slack;
}

void LearnedWeight::KeepScales() {
  float* const factor = scale_factor_.data_ptr<float>();
  for (int64_t i = 0; i < scale_factor_.numel(); ++i) factor[i] = std::max(factor[i], kSmallestFactor);
}

void LearnedWeight::SetScaleGradient(const std::vector<double>& by_channel) {
  float* const gradient = NewGradient(scale_factor_);
  for (size_t c = 0; c < by_channel.size(); ++c) {
    const size_t i = GridIndex(static_cast<int64_t>(c));
    gradient[i] += static_cast<float>(by_channel[c]) * start_.scale[i];
  }
}

float* LearnedWeight::NewGradient(const at::Tensor& parameter) {
  at::Tensor& gradient = parameter.mutable_grad();
  gradient = at::zeros(parameter.sizes(), parameter.options().requires_grad(false));
  return gradient.data_ptr<float>();
}

QuantParams LearnedWeight::ParamsNow() const {
  QuantParams params = start_;
  for (size_t i = 0; i < params.scale.size(); ++i) params.scale[i] *= scale_factor_.data_ptr<float>()[i];
  return params;
}

QuantizedTensor LearnedWeight::Result(const std::vector<int32_t>& codes) const {
  at::Tensor tensor = at::empty(rounding_.front().sizes(), at::kInt);
  std::copy(codes.begin(), codes.end(), tensor.data_ptr<int32_t>());
  return {ParamsNow(), tensor};
}

std::unique_ptr<LearnedWeight> MakeUpOrDown(const at::Tensor& float_weight, const QuantizedTensor& start, double hold) {
  return std::make_unique<UpOrDown>(float_weight, start, hold);
}

std::unique_ptr<LearnedWeight> MakeDivided(const at::Tensor& float_weight, const QuantizedTensor& start) {
  return std::make_unique<Divided>(float_weight, start);
}

std::unique_ptr<LearnedWeight> MakeLatent(const at::Tensor& float_weight, const QuantizedTensor& start, double hold) {
  return std::make_unique<Latent>(float_weight, start, hold);
}

std::unique_ptr<LearnedWeight> MakeAsChosen(const QuantizedTensor& start) { return std::make_unique<AsChosen>(start); }

}  // namespace lowbit
