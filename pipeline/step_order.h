#ifndef LOWBIT_PIPELINE_STEP_ORDER_H_
#define LOWBIT_PIPELINE_STEP_ORDER_H_

#include <vector>

#include "absl/status/status.h"
#include "pipeline/step.h"

namespace lowbit {

// Whether every step finds made what it needs, and nothing that it refuses. Null: a step that is skipped. `start` holds
// what is there before the first step. InvalidArgument with the field of the first step that is out of place
// ("steps[2].quantize"), and what to do about it.
absl::Status CheckStepOrder(const std::vector<const Step*>& steps, const std::vector<Fact>& start);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_STEP_ORDER_H_
