#include "pipeline/forward_functions.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <utility>

#include "base/status_macros.h"
#include "model/executor.h"
#include "model/torch_boundary.h"
#include "quant/fake_quant_network.h"
#include "runtime/network.h"

namespace lowbit {

absl::StatusOr<ForwardFunction> FloatForward(const Model& model) {
  LOWBIT_ASSIGN_OR_RETURN(Executor executor, Executor::Create(model.graph, model.parameters));
  return [run = std::make_shared<Executor>(std::move(executor))](const at::Tensor& images) {
    return run->Forward(images);
  };
}

absl::StatusOr<ForwardFunction> FakeQuantForward(const QuantizedModel& model) {
  LOWBIT_ASSIGN_OR_RETURN(FakeQuantNetwork network, FakeQuantNetwork::Create(model));
  return [run = std::make_shared<FakeQuantNetwork>(std::move(network))](const at::Tensor& images) {
    return run->Forward(images);
  };
}

ForwardFunction TorchInt8Forward(std::shared_ptr<const TorchInt8Model> model) {
  return [model = std::move(model)](const at::Tensor& images) { return model->Forward(images); };
}

absl::StatusOr<ForwardFunction> IntegerForward(const QuantizedModel& model) {
  LOWBIT_ASSIGN_OR_RETURN(const std::shared_ptr<const IntegerNetwork> network, IntegerNetwork::Create(model));
  return [outputs = network->outputs(), session = std::make_shared<IntegerSession>(network, at::get_num_threads())](
             const at::Tensor& images) -> absl::StatusOr<at::Tensor> {
    return CatchTorch([&]() -> absl::StatusOr<at::Tensor> {
      const at::Tensor dense = images.contiguous();
      const at::Tensor logits = at::empty({dense.size(0), outputs}, at::kFloat);
      LOWBIT_RETURN_IF_ERROR(session->Run(dense.data_ptr<float>(), dense.size(0), logits.data_ptr<float>()));
      return logits;
    });
  };
}

}  // namespace lowbit
