#ifndef LOWBIT_PIPELINE_STEP_TREE_H_
#define LOWBIT_PIPELINE_STEP_TREE_H_

#include "absl/status/status.h"
#include "pipeline/config.h"
#include "pipeline/run_plan.h"
#include "pipeline/sweep.h"

namespace lowbit {

// Makes the starts, steps and variants of `plan`, whose data, axes and resume_folder are there: what is the same at the
// beginning of several variants is planned, and later done, once. "The same" are the effective configs of the steps
// that are not skipped, of the model, and the seed from the first step on that uses it. Errors are located.
absl::Status PlantSteps(std::vector<SweepVariant> variants, RunPlan* plan);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_STEP_TREE_H_
