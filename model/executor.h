#ifndef LOWBIT_MODEL_EXECUTOR_H_
#define LOWBIT_MODEL_EXECUTOR_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/graph.h"
#include "model/parameters.h"

namespace lowbit {

// Sees, and may replace, tensors as they pass through an Executor. Shapes have the batch dimension: [N, C, H, W] or
// [N, F]. Memory may be channels-last; indexing and ATen operations do not care, raw pointers do.
//
// Whose memory it is:
// - The tensor of a call holds that layer's values during the call only: later layers may overwrite it in place. A hook
//   that keeps a tensor must keep a clone.
// - A returned tensor becomes the executor's, which may overwrite it.
// - When not training, OnOutput may write into `y` itself and return it: nothing else refers to that memory (not
//   even to the caller's images). The `x` of OnInput may have other readers and must not be written to.
//
// A hook must return a tensor of the shape that it got. A std::exception out of it ends Forward with its message.
class LayerHook {
 public:
  virtual ~LayerHook();
  // Before layer `layer` runs, once per input in order. The value goes to this layer only.
  virtual at::Tensor OnInput(int layer, int input_index, at::Tensor x);
  // After layer `layer` ran. Every reader sees the result.
  virtual at::Tensor OnOutput(int layer, at::Tensor y);
};

struct ExecutorOptions {
  // Batch norm uses the batch's statistics and updates the running ones, and autograd records (for parameters with
  // requires_grad). Otherwise nothing is recorded.
  bool training = false;
  // Hold images as NHWC in memory, not as NCHW: results differ by rounding only. Inference of ResNet-20 on a CPU is
  // some 1.3 times faster so (batch 256, oneDNN), training 1.2 times.
  bool channels_last = true;
  // Only with `training`: activations and the arithmetic of convolutions in bfloat16, while parameters, batch
  // statistics and what comes after the pooling stay in 32 bits (mixed precision, arXiv 1710.03740, 1905.12322).
  bool bfloat16 = false;
};

// Whether there is arithmetic in bfloat16: on a CPU with AVX512-BF16, and on GPUs, of which those before Ampere make
// heavy weather of it.
bool HasBFloat16(c10::Device device);

// Of a config's field "bfloat16" that is set: FieldError where there is none.
absl::Status CheckBFloat16(c10::Device device);

// Runs a graph layer by layer on ATen, on the device that the parameters are on. Images must be there, too.
//
// When training the parameters are the caller's tensors: an optimizer's update is seen by the next Forward, and running
// statistics are updated in them in place. When not training they are a snapshot (prepared once for fast use): after
// a change, create another Executor.
//
// Forward is const and keeps no state besides the running statistics: without training it may be called from
// several threads.
class Executor {
 public:
  // InvalidArgument as CheckParameters.
  static absl::StatusOr<Executor> Create(const Graph& graph, ParameterMap parameters, ExecutorOptions options = {});

  // images: float32 [N, C, H, W], N >= 1, of the graph's input shape; InvalidArgument naming both shapes otherwise.
  // Returns the last layer's output, [N, F] or [N, C, H, W]. An intermediate result is freed after its last reader.
  absl::StatusOr<at::Tensor> Forward(const at::Tensor& images, LayerHook* hook = nullptr) const;

  const Graph& graph() const { return graph_; }

 private:
  // What running a layer takes besides its inputs. Tensors are undefined where the layer has no such parameter.
  struct LayerPlan {
    at::Tensor weight, bias, running_mean, running_var;
    int overwrite = -1;  // The input whose memory the result may take, or -1.
  };

  struct RunOp;

  Executor(const Graph& graph, ExecutorOptions options);

  void Bind(const ParameterMap& parameters);
  absl::StatusOr<at::Tensor> Run(const at::Tensor& images, LayerHook* hook) const;

  Graph graph_;
  ExecutorOptions options_;
  std::vector<LayerPlan> plans_;
};

}  // namespace lowbit

#endif  // LOWBIT_MODEL_EXECUTOR_H_
