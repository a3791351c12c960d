#ifndef LOWBIT_PIPELINE_PLAN_TEXT_H_
#define LOWBIT_PIPELINE_PLAN_TEXT_H_

#include <string>

#include "pipeline/run_plan.h"

namespace lowbit {

// For people: model, data, steps, sweeps, and for each layer what will become of its weights and of the tensor that it
// reads; once for all variants that agree in that.
std::string PlanText(const RunPlan& plan);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_PLAN_TEXT_H_
