#include "reconstruction/reconstruction.h"

#include <c10/core/GradMode.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "model/executor.h"
#include "model/passes/segment.h"
#include "model/torch_boundary.h"
#include "quant/fake_quant_model.h"
#include "quant/twin_activations.h"

namespace lowbit {
namespace {

// One tensor of all images, from batches of them that come one after the other.
class Joined {
 public:
  // As many images as `batches` have.
  Joined(const std::vector<at::Tensor>& batches, ActivationCache& cache) : cache_(cache) {
    for (const at::Tensor& batch : batches) images_ += batch.size(0);
  }

  absl::Status Add(const at::Tensor& batch) {
    if (!all_.defined()) {
      std::vector<int64_t> sizes = batch.sizes().vec();
      sizes.front() = images_;
      LOWBIT_ASSIGN_OR_RETURN(all_, cache_.Empty(sizes));
    }
    all_.narrow(0, next_, batch.size(0)).copy_(batch);
    next_ += batch.size(0);
    return absl::OkStatus();
  }

  at::Tensor all() const { return all_; }

 private:
  ActivationCache& cache_;
  int64_t images_ = 0;
  at::Tensor all_;
  int64_t next_ = 0;
};

absl::StatusOr<at::Tensor> Join(const std::vector<at::Tensor>& batches, ActivationCache& cache) {
  Joined joined(batches, cache);
  for (const at::Tensor& batch : batches) LOWBIT_RETURN_IF_ERROR(joined.Add(batch));
  return joined.all();
}

// What the network makes of the batches.
absl::StatusOr<at::Tensor> RunAll(const Executor& executor, LayerHook* hook, const std::vector<at::Tensor>& batches,
                                  ActivationCache& cache) {
  Joined joined(batches, cache);
  for (const at::Tensor& batch : batches) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor y, executor.Forward(batch, hook));
    LOWBIT_RETURN_IF_ERROR(joined.Add(y));
  }
  return joined.all();
}

absl::StatusOr<at::Tensor> RunFloat(const Model& model, const std::vector<at::Tensor>& batches,
                                    ActivationCache& cache) {
  LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(model.graph, model.parameters));
  return RunAll(executor, nullptr, batches, cache);
}

// Takes over into `model` what `part`, some of its layers, holds.
void TakeOver(const QuantizedModel& part, QuantizedModel* model) {
  for (const auto& [name, weight] : part.weights) model->weights.at(name) = weight;
  for (const auto& [name, params] : part.activations) model->activations.at(name) = params;
  for (const auto& [name, blob] : part.parameters) model->parameters.at(name) = blob;
}

absl::StatusOr<BlockTask> MakeTask(const Model& model, const Block& block, const QuantizedModel& quantized,
                                   TwinActivations& twins, ActivationCache& cache) {
  // Everything goes through here on its way to the network's end, not only to the block's.
  LOWBIT_RETURN_IF_ERROR(twins.AdvanceTo(LastCut(model.graph, block.first + 1, model.graph.size() - 1), quantized));
  at::Tensor float_in, quantized_in;
  if (twins.cut() == block.first) {
    LOWBIT_ASSIGN_OR_RETURN(float_in, Join(twins.in_float(), cache));
    LOWBIT_ASSIGN_OR_RETURN(quantized_in, Join(twins.in_quantized(), cache));
  } else {
    const Model way = Segment(model, twins.cut(), block.first);
    LOWBIT_ASSIGN_OR_RETURN(float_in, RunFloat(way, twins.in_float(), cache));
    LOWBIT_ASSIGN_OR_RETURN(QuantizedSegment part, QuantizedSegment::Create(quantized, way.graph));
    LOWBIT_ASSIGN_OR_RETURN(quantized_in, RunAll(part.executor, &part.hook, twins.in_quantized(), cache));
  }
  Model segment = Segment(model, block.first, block.last);
  QuantizedModel start = PartOfQuantizedModel(quantized, segment.graph);
  const int64_t batch_size = twins.in_float().front().size(0);
  LOWBIT_ASSIGN_OR_RETURN(at::Tensor target, RunFloat(segment, float_in.split(batch_size), cache));
  return BlockTask{block.Name(model.graph), std::move(segment), std::move(start), std::move(float_in),
                   std::move(quantized_in), std::move(target),  std::nullopt,     at::Tensor()};
}

}  // namespace

std::vector<Block> BlocksToReconstruct(const Graph& graph, const ReconstructConfig& config) {
  return config.unit() == ReconstructConfig::LAYER ? SingleLayers(graph) : FindBlocks(graph);
}

absl::StatusOr<ReconstructionState> Reconstruct(const Model& float_model, ReconstructionState state,
                                                const std::vector<at::Tensor>& batches, const ReconstructConfig& config,
                                                uint64_t seed, ActivationCache& cache,
                                                const ReconstructionCallbacks& callbacks) {
  const Graph& graph = float_model.graph;
  const std::vector<Block> blocks = BlocksToReconstruct(graph, config);
  TwinActivations twins(float_model, batches, &cache);
  at::Tensor logits;
  if (config.prediction_difference() > 0) {
    LOWBIT_ASSIGN_OR_RETURN(logits, RunFloat(float_model, batches, cache));
  }
  for (size_t i = state.blocks.size(); i < blocks.size(); ++i) {
    const Block& block = blocks[i];
    LOWBIT_ASSIGN_OR_RETURN(BlockTask task, MakeTask(float_model, block, state.model, twins, cache));
    task.seed = MixKeys({seed, static_cast<uint64_t>(i)});
    if (config.prediction_difference() > 0) {
      task.logits = logits;
      if (block.last + 1 < graph.size()) task.rest = Segment(float_model, block.last, graph.size() - 1);
    }
    absl::StatusOr<BlockResult> result =
        ReconstructBlock(task, config, [&](const BlockProgress& progress) { return callbacks.on_step(i, progress); });
    if (!result.ok()) {
      return absl::IsCancelled(result.status())
                 ? result.status()
                 : absl::Status(result.status().code(), absl::StrCat(task.name, ": ", result.status().message()));
    }
    TakeOver(result->model, &state.model);
    state.blocks.push_back(std::move(result->report));
    LOWBIT_RETURN_IF_ERROR(callbacks.on_block(state));
  }
  return state;
}

}  // namespace lowbit
