#ifndef LOWBIT_PIPELINE_SENSITIVITY_PLAN_H_
#define LOWBIT_PIPELINE_SENSITIVITY_PLAN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "pipeline/config.pb.h"
#include "pipeline/step.h"
#include "sensitivity/measure.h"

namespace lowbit {

// What a sensitivity step is going to measure on one network, for the steps after it to plan with.
struct SensitivityPlan {
  SensitivityOptions options;
  ParameterMap parameters;  // of the network that it will measure, by handle
};

// The convolutions and linear layers of `candidates` (indices) whose whole name `expression` matches.
// FieldError("layers",
// ...) if it is no regular expression (RE2) or matches none of them; `kind` says what they are: "convolution or linear
// layer".
absl::StatusOr<std::vector<int>> MatchLayers(const std::string& expression, const Graph& graph,
                                             const std::vector<int>& candidates, absl::string_view kind);

// InvalidArgument if a step has changed the network since it was measured: the numbers must be the very same tensors.
absl::Status CheckUnchanged(const ParameterMap& measured, const ParameterMap& now);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_SENSITIVITY_PLAN_H_
