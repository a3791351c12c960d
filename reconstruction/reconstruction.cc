#include "reconstruction/reconstruction.h"

#include <ATen/ops/empty.h>
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

// All batches as one tensor, images channels-last.
at::Tensor Join(const std::vector<at::Tensor>& batches) {
  int64_t images = 0;
  for (const at::Tensor& batch : batches) images += batch.size(0);
  std::vector<int64_t> sizes = batches.front().sizes().vec();
  sizes.front() = images;
  at::Tensor all =
      at::empty(sizes, at::kFloat, sizes.size() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
  int64_t first = 0;
  for (const at::Tensor& batch : batches) {
    all.narrow(0, first, batch.size(0)).copy_(batch);
    first += batch.size(0);
  }
  return all;
}

absl::StatusOr<std::vector<at::Tensor>> RunAll(const Executor& executor, LayerHook* hook,
                                               std::vector<at::Tensor> batches) {
  for (at::Tensor& batch : batches) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(batch, executor.Forward(batch, hook));
  }
  return batches;
}

absl::StatusOr<std::vector<at::Tensor>> RunFloat(const Model& model, const std::vector<at::Tensor>& batches) {
  LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(model.graph, model.parameters));
  return RunAll(executor, nullptr, batches);
}

// Takes over into `model` what `part`, some of its layers, holds.
void TakeOver(const QuantizedModel& part, QuantizedModel* model) {
  for (const auto& [name, weight] : part.weights) model->weights.at(name) = weight;
  for (const auto& [name, params] : part.activations) model->activations.at(name) = params;
  for (const auto& [name, blob] : part.parameters) model->parameters.at(name) = blob;
}

absl::StatusOr<BlockTask> MakeTask(const Model& model, const Block& block, const QuantizedModel& quantized,
                                   TwinActivations& twins) {
  // Everything goes through here on its way to the network's end, not only to the block's.
  LOWBIT_RETURN_IF_ERROR(twins.AdvanceTo(LastCut(model.graph, block.first + 1, model.graph.size() - 1), quantized));
  std::vector<at::Tensor> in_float = twins.in_float(), in_quantized = twins.in_quantized();
  if (twins.cut() != block.first) {
    const Model way = Segment(model, twins.cut(), block.first);
    LOWBIT_ASSIGN_OR_RETURN(in_float, RunFloat(way, in_float));
    LOWBIT_ASSIGN_OR_RETURN(QuantizedSegment part, QuantizedSegment::Create(quantized, way.graph));
    LOWBIT_ASSIGN_OR_RETURN(in_quantized, RunAll(part.executor, &part.hook, in_quantized));
  }
  Model segment = Segment(model, block.first, block.last);
  QuantizedModel start = PartOfQuantizedModel(quantized, segment.graph);
  LOWBIT_ASSIGN_OR_RETURN(const std::vector<at::Tensor> target, RunFloat(segment, in_float));
  return BlockTask{block.Name(model.graph), std::move(segment), std::move(start), Join(in_float),
                   Join(in_quantized),      Join(target),       std::nullopt,     at::Tensor()};
}

}  // namespace

std::vector<Block> BlocksToReconstruct(const Graph& graph, const ReconstructConfig& config) {
  return config.unit() == ReconstructConfig::LAYER ? SingleLayers(graph) : FindBlocks(graph);
}

absl::StatusOr<ReconstructionState> Reconstruct(const Model& float_model, ReconstructionState state,
                                                const std::vector<at::Tensor>& batches, const ReconstructConfig& config,
                                                uint64_t seed, const ReconstructionCallbacks& callbacks) {
  const Graph& graph = float_model.graph;
  const std::vector<Block> blocks = BlocksToReconstruct(graph, config);
  TwinActivations twins(float_model, batches);
  at::Tensor logits;
  if (config.prediction_difference() > 0) {
    LOWBIT_ASSIGN_OR_RETURN(const std::vector<at::Tensor> parts, RunFloat(float_model, batches));
    logits = Join(parts);
  }
  for (size_t i = state.blocks.size(); i < blocks.size(); ++i) {
    const Block& block = blocks[i];
    LOWBIT_ASSIGN_OR_RETURN(BlockTask task, MakeTask(float_model, block, state.model, twins));
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
