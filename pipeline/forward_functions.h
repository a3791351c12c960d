#ifndef LOWBIT_PIPELINE_FORWARD_FUNCTIONS_H_
#define LOWBIT_PIPELINE_FORWARD_FUNCTIONS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "evaluation/evaluator.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {

// The ways to run a network, each as a function from images to logits. They keep what they need.

absl::StatusOr<ForwardFunction> FloatForward(const Model& model);
absl::StatusOr<ForwardFunction> FakeQuantForward(const QuantizedModel& model);
ForwardFunction TorchInt8Forward(std::shared_ptr<const TorchInt8Model> model);

// In the integer engine (runtime/network.h), on as many threads as LibTorch now uses. For one caller at a time.
absl::StatusOr<ForwardFunction> IntegerForward(const QuantizedModel& model);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_FORWARD_FUNCTIONS_H_
