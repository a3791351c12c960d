#ifndef LOWBIT_TORCH_INT8_TORCH_INT8_MODEL_H_
#define LOWBIT_TORCH_INT8_TORCH_INT8_MODEL_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/parameters.h"
#include "quant/quant_params.h"

namespace lowbit {

// The layers whose output needs a QuantParams of its own in a TorchInt8Model, ascending: the images and what
// convolutions, linear layers and additions put out, after the ReLU where one can be fused to them. Everything else
// (pools, shortcuts without parameters) passes codes on under their scale.
std::vector<int> TorchInt8Tensors(const Graph& graph);

// Whether LibTorch has 8-bit operators for all layers: InvalidArgument naming a batch norm, which has to be folded.
absl::Status CheckTorchInt8(const Graph& graph);

// The quantized engines that the installed LibTorch has, of x86, onednn, fbgemm and qnnpack, best first: the fastest
// one that does not saturate on this CPU.
std::vector<std::string> TorchInt8Engines();

// A network in LibTorch's own 8-bit operators (quantized::conv2d_relu, quantized::add_relu, quantized::linear, ...), as
// its FX quantization would make it: activations quint8, one scale and zero point for each tensor; weights qint8 and
// symmetric with a scale for each output channel, max |w| / 127.5; sums in 32 bits; biases in float.
//
// It is a TorchScript module. The file that Save writes is for anyone who has LibTorch:
//
//   import torch
//   logits = torch.jit.load("int8.pt")(images)    # float32 [N, C, H, W], normalised
//
// Thread-safe once made.
class TorchInt8Model {
 public:
  // `model` has its batch norms folded; `activations` holds what TorchInt8Tensors names, by layer name, 8 bits,
  // unsigned and per tensor. Weights are laid out for `engine`, one of TorchInt8Engines(), which becomes LibTorch's
  // engine for the process. InvalidArgument naming the layer or the engine that is not as it should be.
  static absl::StatusOr<TorchInt8Model> Create(const Model& model,
                                               const std::map<std::string, QuantParams>& activations,
                                               const std::string& engine);

  // Reads what Save wrote, for the first of TorchInt8Engines(), which becomes LibTorch's engine for the process. A
  // TorchScript file is a program: it can do whatever TorchScript can, so only load one that you trust.
  // InvalidArgument, naming the file, for any other file.
  static absl::StatusOr<TorchInt8Model> Load(const std::string& path);

  // Atomically.
  absl::Status Save(const std::string& path) const;

  // Logits, float32 [N, classes], of images, float32 [N, C, H, W].
  absl::StatusOr<at::Tensor> Forward(const at::Tensor& images) const;

  const Graph& graph() const;

  // Which its weights are laid out for.
  const std::string& engine() const;

 private:
  struct Module;  // keeps LibTorch's JIT, which takes long to compile, out of here
  explicit TorchInt8Model(std::shared_ptr<const Module> module) : module_(std::move(module)) {}

  std::shared_ptr<const Module> module_;
};

// Bytes of the weights of convolutions and linear layers in such a model: one for each weight, and 4 for the scale of
// each output channel.
int64_t TorchInt8WeightBytes(const Graph& graph);

}  // namespace lowbit

#endif  // LOWBIT_TORCH_INT8_TORCH_INT8_MODEL_H_
