#include "learning/learned_fake_quantize.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/full.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "base/check.h"
#include "learning/learned_kernels.h"
#include "quant/channel_grid.h"
#include "quant/parallel_for.h"

namespace lowbit {
namespace {

// Elements that one thread takes at a time.
constexpr int64_t kChunk = int64_t{1} << 14;

RandomKeep ToKeep(const RandomFloat& random) {
  LOWBIT_CHECK(random.probability >= 0 && random.probability <= 1, "a probability of ", random.probability);
  constexpr double kAll = 4294967295.0;
  return {static_cast<uint32_t>(random.probability * kAll), random.seed};
}

// Where every element was decided on, forward and back: the grid with the scale of that moment.
class Pass {
 public:
  Pass(const QuantParams& params, float scale, bool relu, const RandomFloat& stays_float)
      : uniform_{scale,
                 params.zero_point.front(),
                 static_cast<float>(params.qmin()),
                 static_cast<float>(params.qmax()),
                 params.bits == 1 ? 0.5f : 0.0f,
                 relu},
        keep_(ToKeep(stays_float)) {
    if (params.is_uniform()) return;
    QuantParams now = params;
    now.scale = {scale};
    levels_.emplace(now, 0);
  }

  void Forward(const float* in, float* out, int64_t size, int64_t first) const {
    if (!levels_.has_value()) return LearnedFakeQuantizeSpan(in, out, size, first, uniform_, keep_);
    for (int64_t i = 0; i < size; ++i) {
      const float r = Rectified(in[i]);
      out[i] = keep_.Keeps(static_cast<uint32_t>(first + i)) ? r : levels_->FakeQuantize(r);
    }
  }

  double Backward(const float* in, const float* grad_out, float* grad_in, int64_t size, int64_t first) const {
    if (!levels_.has_value()) {
      return LearnedFakeQuantizeBackwardSpan(in, grad_out, grad_in, size, first, uniform_, keep_);
    }
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) {
      const float r = Rectified(in[i]);
      const float shifted = r / uniform_.scale + uniform_.zero_point;
      const bool inside = shifted >= levels_->levels().front() && shifted <= levels_->levels().back();
      const bool kept = keep_.Keeps(static_cast<uint32_t>(first + i));
      const bool cut = uniform_.relu && !(in[i] > 0);
      grad_in[i] = !cut && (inside || kept) ? grad_out[i] : 0.0f;
      if (kept) continue;
      const float level = levels_->FakeQuantize(r) / uniform_.scale;  // less the zero point
      sum += static_cast<double>(grad_out[i] * (level - (inside ? r / uniform_.scale : 0.0f)));
    }
    return sum;
  }

 private:
  float Rectified(float x) const { return uniform_.relu ? std::max(x, 0.0f) : x; }

  LearnedGrid uniform_;
  RandomKeep keep_;
  std::optional<ChannelGrid> levels_;  // not there: it is uniform
};

// Calls body(first, size) for pieces of [0, numel), in parallel.
template <typename Body>
void ForEachChunk(int64_t numel, const Body& body) {
  ParallelFor((numel + kChunk - 1) / kChunk,
              [&](int64_t i) { body(i * kChunk, std::min(kChunk, numel - i * kChunk)); });
}

at::Tensor Dense(const at::Tensor& x) {
  LOWBIT_CHECK(x.scalar_type() == at::kFloat && x.device().is_cpu(), "wrong element type or device");
  return x.is_non_overlapping_and_dense() ? x : x.contiguous();
}

// What the way back needs beside tensors.
struct PassHolder : torch::CustomClassHolder {
  explicit PassHolder(Pass p) : pass(std::move(p)) {}
  Pass pass;
};

struct FakeQuantizeFunction : torch::autograd::Function<FakeQuantizeFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input, const at::Tensor& scale,
                            const QuantParams& params, bool relu, const RandomFloat& stays_float) {
    const at::Tensor x = Dense(input);
    const Pass pass(params, *scale.data_ptr<float>(), relu, stays_float);
    at::Tensor y = at::empty_like(x);
    const float* const in = x.data_ptr<float>();
    float* const out = y.data_ptr<float>();
    ForEachChunk(x.numel(), [&](int64_t first, int64_t size) { pass.Forward(in + first, out + first, size, first); });
    context->save_for_backward({x});
    context->saved_data["pass"] = c10::IValue::make_capsule(c10::make_intrusive<PassHolder>(pass));
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const at::Tensor x = context->get_saved_variables()[0];
    const auto holder = context->saved_data["pass"].toCapsule();
    const Pass& pass = static_cast<const PassHolder&>(*holder).pass;
    at::Tensor grad_in = at::empty_like(x);
    // In the order of x's memory, whatever it came in.
    at::Tensor grad_out = gradients[0];
    if (grad_out.strides() != x.strides()) grad_out = at::empty_like(x).copy_(grad_out);
    const float* const in = x.data_ptr<float>();
    const float* const from = grad_out.data_ptr<float>();
    float* const to = grad_in.data_ptr<float>();
    std::vector<double> sums(static_cast<size_t>((x.numel() + kChunk - 1) / kChunk));
    ForEachChunk(x.numel(), [&](int64_t first, int64_t size) {
      sums[static_cast<size_t>(first / kChunk)] = pass.Backward(in + first, from + first, to + first, size, first);
    });
    double sum = 0;
    for (const double part : sums) sum += part;
    return {grad_in, at::full({1}, sum, x.options()), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// Floats of one image.
int64_t RowSize(const at::Tensor& x) {
  LOWBIT_CHECK(x.scalar_type() == at::kFloat && x.device().is_cpu() && x.is_non_overlapping_and_dense(),
               "wrong element type or device, or not dense");
  const int64_t size = x.size(0) == 0 ? 0 : x.numel() / x.size(0);
  LOWBIT_CHECK(x.size(0) < 2 || x.stride(0) == size, "an image is not one piece of memory");
  return size;
}

// [rows, ...], of the memory order of `like`.
at::Tensor EmptyRows(const at::Tensor& like, int64_t rows) {
  std::vector<int64_t> sizes = like.sizes().vec(), strides = like.strides().vec();
  sizes.front() = rows;
  strides.front() = RowSize(like);
  return at::empty_strided(sizes, strides, like.options());
}

}  // namespace

at::Tensor LearnedFakeQuantize(const at::Tensor& x, const at::Tensor& scale, const QuantParams& params, bool relu,
                               const RandomFloat& stays_float) {
  return FakeQuantizeFunction::apply(x, scale, params, relu, stays_float);
}

at::Tensor MixRows(const at::Tensor& a, const at::Tensor& b, const std::vector<int64_t>& rows,
                   const RandomFloat& from_a) {
  const int64_t row = RowSize(a);
  LOWBIT_CHECK(RowSize(b) == row && a.sizes() == b.sizes() && a.strides() == b.strides(), "two tensors unlike");
  at::Tensor mixed = EmptyRows(a, static_cast<int64_t>(rows.size()));
  const float* const from_1 = a.data_ptr<float>();
  const float* const from_2 = b.data_ptr<float>();
  float* const to = mixed.data_ptr<float>();
  const RandomKeep keep = ToKeep(from_a);
  ParallelFor(static_cast<int64_t>(rows.size()), [&](int64_t i) {
    const int64_t from = rows[static_cast<size_t>(i)] * row;
    if (from_1 == from_2 || keep.threshold == 0) {
      std::memcpy(to + i * row, from_2 + from, static_cast<size_t>(row) * sizeof(float));
    } else {
      MixSpan(from_1 + from, from_2 + from, to + i * row, row, i * row, keep);
    }
  });
  return mixed;
}

double SquaredError(const at::Tensor& x, const at::Tensor& targets, const std::vector<int64_t>& rows,
                    at::Tensor* gradient) {
  const int64_t row = RowSize(targets);
  LOWBIT_CHECK(x.size(0) == static_cast<int64_t>(rows.size()) && x[0].sizes() == targets[0].sizes(), "unlike shapes");
  at::Tensor like = EmptyRows(targets, x.size(0));
  const at::Tensor same = x.strides() == like.strides() && RowSize(x) == row ? x : like.copy_(x);
  *gradient = EmptyRows(targets, x.size(0));
  const int64_t places = x.dim() == 4 ? x.size(0) * x.size(2) * x.size(3) : x.size(0);
  const float factor = 2.0f / static_cast<float>(places);
  const float* const got = same.data_ptr<float>();
  const float* const wanted = targets.data_ptr<float>();
  float* const to = gradient->data_ptr<float>();
  std::vector<double> sums(rows.size());
  ParallelFor(static_cast<int64_t>(rows.size()), [&](int64_t i) {
    const size_t k = static_cast<size_t>(i);
    sums[k] = SquaredErrorSpan(got + i * row, wanted + rows[k] * row, factor, to + i * row, row);
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum / static_cast<double>(places);
}

}  // namespace lowbit
