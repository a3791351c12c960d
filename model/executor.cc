#include "model/executor.h"

#include <ATen/Context.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/add.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/flatten.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/mkldnn_convolution.h>
#include <ATen/ops/relu.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "model/torch_boundary.h"

namespace lowbit {
namespace {

at::MemoryFormat MemoryOrder(const ExecutorOptions& options) {
  return options.channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

// Whether convolutions of such images can be handed to oneDNN directly. At batch 256 at::convolution does so by itself;
// at batch 1 it prefers its own code, which takes three times as long for ResNet-20 (LibTorch 1.13).
bool OneDnnRuns(const at::Tensor& images) {
  return images.is_cpu() && at::globalContext().hasMKLDNN() && at::globalContext().userEnabledMkldnn();
}

// Whether the result is a view of the input's memory.
bool IsView(const Op& op) { return std::holds_alternative<Flatten>(op) || std::holds_alternative<Subsample>(op); }

// Whether the only reader of this operation's result may overwrite it. Views and the caller's images never; when
// training also not what autograd keeps for the backward pass: of these operations, relu alone keeps its result.
bool MayBeOverwritten(const Op& op, bool training) {
  if (std::holds_alternative<Input>(op) || IsView(op)) return false;
  return !(training && std::holds_alternative<Relu>(op));
}

// The input whose memory the result of layer i may take, or -1. Writing a relu or a sum into its input saves a pass
// over memory, of which there are many more than there is arithmetic in such layers.
int InputToOverwrite(const Graph& graph, int i, bool training) {
  const Layer& layer = graph.layer(i);
  if (!std::holds_alternative<Relu>(layer.op) && !std::holds_alternative<Add>(layer.op)) return -1;
  for (size_t k = 0; k < layer.inputs.size(); ++k) {
    const int producer = layer.inputs[k];
    if (graph.consumers(producer).size() == 1 && MayBeOverwritten(graph.layer(producer).op, training)) {
      return static_cast<int>(k);
    }
  }
  return -1;
}

std::string WithBatch(absl::string_view batch, const Shape& shape) {
  std::string text = absl::StrCat("[", batch);
  for (int64_t dimension : shape) absl::StrAppend(&text, ", ", dimension);
  return text + "]";
}

absl::Status CheckImages(const at::Tensor& images, const Shape& shape) {
  if (!images.defined()) return absl::InvalidArgumentError("images: got an undefined tensor");
  const Shape sizes = images.sizes().vec();
  const bool fits = sizes.size() == 4 && sizes[0] >= 1 && Shape(sizes.begin() + 1, sizes.end()) == shape;
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat("images have shape ", ShapeToString(sizes), ", the network wants ",
                                                   WithBatch("N", shape), " with N >= 1"));
  }
  if (images.scalar_type() != at::kFloat) {
    return absl::InvalidArgumentError(
        absl::StrCat("images are of type ", c10::toString(images.scalar_type()), ", the network wants Float"));
  }
  return absl::OkStatus();
}

absl::Status CheckHooked(const at::Tensor& got, const Shape& wanted, const Layer& layer, absl::string_view call) {
  if (got.defined() && got.sizes() == at::IntArrayRef(wanted)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("layer \"", layer.name, "\": the hook's ", call, " returned ",
                   got.defined() ? ShapeToString(got.sizes().vec()) : "an undefined tensor", " for a tensor of shape ",
                   ShapeToString(wanted)));
}

}  // namespace

// Runs one operation. `inputs` may be consumed.
struct Executor::RunOp {
  const LayerPlan& plan;
  const bool training;
  const int overwrite;
  const bool call_onednn;
  const at::MemoryFormat memory_order;
  const bool bfloat16;
  std::vector<at::Tensor>& inputs;

  at::Tensor& x() const { return inputs[0]; }

  // What a convolution or the image before it is held in.
  at::Tensor ToCompute(const at::Tensor& t) const { return bfloat16 && t.defined() ? t.to(at::kBFloat16) : t; }

  at::Tensor operator()(const Input&) const { return ToCompute(x()); }

  at::Tensor operator()(const Conv2d& op) const {
    if (call_onednn) {
      return at::mkldnn_convolution(x().contiguous(memory_order), plan.weight, plan.bias, op.padding, op.stride,
                                    op.dilation, op.groups);
    }
    return at::convolution(ToCompute(x()), ToCompute(plan.weight), ToCompute(plan.bias), op.stride, op.padding,
                           op.dilation,
                           /*transposed=*/false, /*output_padding=*/{0, 0}, op.groups);
  }

  at::Tensor operator()(const Linear&) const { return at::linear(x().to(at::kFloat), plan.weight, plan.bias); }

  at::Tensor operator()(const BatchNorm& op) const {
    return at::batch_norm(x(), plan.weight, plan.bias, plan.running_mean, plan.running_var, training, op.momentum,
                          op.eps,
                          /*cudnn_enabled=*/true);
  }

  at::Tensor operator()(const Relu&) const { return overwrite == 0 ? at::relu_(x()) : at::relu(x()); }

  at::Tensor operator()(const Add&) const {
    if (overwrite == 0) return inputs[0].add_(inputs[1]);
    if (overwrite == 1) return inputs[1].add_(inputs[0]);
    return at::add(inputs[0], inputs[1]);
  }

  at::Tensor operator()(const GlobalAvgPool&) const { return at::adaptive_avg_pool2d(x().to(at::kFloat), {1, 1}); }

  at::Tensor operator()(const Flatten&) const { return at::flatten(x(), 1); }

  at::Tensor operator()(const AvgPool& op) const {
    return at::avg_pool2d(x().to(at::kFloat), op.kernel, op.stride, op.padding);
  }

  at::Tensor operator()(const MaxPool& op) const { return at::max_pool2d(x(), op.kernel, op.stride, op.padding); }

  at::Tensor operator()(const Subsample& op) const {
    return x().slice(2, 0, /*end=*/{}, op.stride[0]).slice(3, 0, /*end=*/{}, op.stride[1]);
  }

  at::Tensor operator()(const PadChannels& op) const {
    return at::constant_pad_nd(x(), {0, 0, 0, 0, op.before, op.after}, 0);
  }
};

bool HasBFloat16(c10::Device device) {
  if (!device.is_cpu()) return true;
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

absl::Status CheckBFloat16(c10::Device device) {
  if (HasBFloat16(device)) return absl::OkStatus();
  return FieldError("bfloat16", "this CPU has no bfloat16 arithmetic (AVX512-BF16); leave it out to compute in 32 bits");
}

LayerHook::~LayerHook() = default;

at::Tensor LayerHook::OnInput(int /*layer*/, int /*input_index*/, at::Tensor x) { return x; }

at::Tensor LayerHook::OnOutput(int /*layer*/, at::Tensor y) { return y; }

Executor::Executor(const Graph& graph, ExecutorOptions options)
    : graph_(graph), options_(options), plans_(static_cast<size_t>(graph.size())) {
  for (int i = 0; i < graph.size(); ++i) {
    plans_[static_cast<size_t>(i)].overwrite = InputToOverwrite(graph, i, options.training);
  }
}

absl::StatusOr<Executor> Executor::Create(const Graph& graph, ParameterMap parameters, ExecutorOptions options) {
  LOWBIT_RETURN_IF_ERROR(CheckParameters(graph, parameters));
  Executor executor(graph, options);
  LOWBIT_RETURN_IF_ERROR(CatchTorch([&] { executor.Bind(parameters); }));
  return executor;
}

void Executor::Bind(const ParameterMap& parameters) {
  const auto take = [&](const Layer& layer, absl::string_view name) -> at::Tensor {
    const auto it = parameters.find(ParameterName(layer.name, name));
    if (it == parameters.end()) return at::Tensor();
    if (options_.training) return it->second;
    const at::Tensor value = it->second.detach();
    return value.clone(value.dim() == 4 ? MemoryOrder(options_) : at::MemoryFormat::Contiguous);
  };
  for (int i = 0; i < graph_.size(); ++i) {
    LayerPlan& plan = plans_[static_cast<size_t>(i)];
    const Layer& layer = graph_.layer(i);
    plan.weight = take(layer, "weight");
    plan.bias = take(layer, "bias");
    plan.running_mean = take(layer, "running_mean");
    plan.running_var = take(layer, "running_var");
  }
}

absl::StatusOr<at::Tensor> Executor::Forward(const at::Tensor& images, LayerHook* hook) const {
  LOWBIT_RETURN_IF_ERROR(CheckImages(images, graph_.input_shape()));
  return CatchTorch([&]() -> absl::StatusOr<at::Tensor> {
    if (options_.training) return Run(images, hook);
    c10::NoGradGuard no_grad;
    return Run(images, hook);
  });
}

absl::StatusOr<at::Tensor> Executor::Run(const at::Tensor& images, LayerHook* hook) const {
  std::vector<at::Tensor> values(plans_.size());
  std::vector<size_t> readers_left(plans_.size());
  const bool call_onednn = !options_.training && OneDnnRuns(images);
  for (int i = 0; i < graph_.size(); ++i) {
    const Layer& layer = graph_.layer(i);
    const LayerPlan& plan = plans_[static_cast<size_t>(i)];
    std::vector<at::Tensor> inputs;
    if (layer.inputs.empty()) inputs.push_back(images.contiguous(MemoryOrder(options_)));
    bool shared = layer.inputs.empty();  // Whether somebody else still needs an input's memory.
    for (size_t k = 0; k < layer.inputs.size(); ++k) {
      const size_t producer = static_cast<size_t>(layer.inputs[k]);
      const bool last = --readers_left[producer] == 0;
      shared = shared || !last;
      at::Tensor x = last ? std::move(values[producer]) : values[producer];
      if (hook != nullptr) {
        const Shape shape = x.sizes().vec();
        x = hook->OnInput(i, static_cast<int>(k), std::move(x));
        LOWBIT_RETURN_IF_ERROR(CheckHooked(x, shape, layer, "OnInput"));
      }
      inputs.push_back(std::move(x));
    }
    // What a hook returns while training may be kept by autograd for the backward pass.
    const int overwrite = options_.training && hook != nullptr ? -1 : plan.overwrite;
    at::Tensor y = std::visit(RunOp{plan, options_.training, overwrite, call_onednn, MemoryOrder(options_),
                                    options_.training && options_.bfloat16, inputs},
                              layer.op);
    inputs.clear();
    if (hook != nullptr) {
      const bool aliases = IsView(layer.op) || std::holds_alternative<Input>(layer.op);
      if (aliases && shared && !options_.training) y = y.clone();
      const Shape shape = y.sizes().vec();
      y = hook->OnOutput(i, std::move(y));
      LOWBIT_RETURN_IF_ERROR(CheckHooked(y, shape, layer, "OnOutput"));
    }
    values[static_cast<size_t>(i)] = std::move(y);
    readers_left[static_cast<size_t>(i)] = graph_.consumers(i).size();
  }
  return std::move(values.back());
}

}  // namespace lowbit
