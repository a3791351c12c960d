#ifndef LOWBIT_PIPELINE_RUN_PLAN_H_
#define LOWBIT_PIPELINE_RUN_PLAN_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/data_source.h"
#include "pipeline/model_source.h"
#include "pipeline/pivot_table.h"
#include "pipeline/step.h"
#include "pipeline/sweep.h"

namespace lowbit {

// A step as it is done once, for all variants that come to it in the same state and want the same of it. The steps of a
// run are trees: what several variants have in common at their beginning is a trunk.
struct PlannedStep {
  std::shared_ptr<const Step> step;
  int index = 0;            // steps[index] of the config
  int variant = 0;          // the first of those that it is done for; the step has its seed, label and positions
  VariantLabel label;       // of that variant, as far as it is decided here; empty: it is the same for all
  StatsRequests requests;   // of all variants that it is done for
  std::vector<int> next;    // steps that go on from here, as indices of RunPlan::steps
  std::vector<int> ending;  // variants whose last step it is
};

// What variants start from.
struct PlannedStart {
  LoadedModel model;
  int variant = 0;        // the first one that does
  std::vector<int> next;  // as in PlannedStep
};

// The run for one combination of the sweeps' values, or the run.
struct PlannedVariant {
  std::vector<int> choice;  // of each axis the index of its value
  VariantLabel label;       // empty where there is no sweep
  Config source;            // for the positions of errors
  PipelineConfig config;    // effective, with the combination's values in it
  uint64_t seed = 0;
  int start = 0;          // in RunPlan::starts
  std::vector<int> path;  // its steps, in RunPlan::steps; without those that it skips
  std::vector<PlannedTensor> quantization;
};

// A config that was found good.
struct RunPlan {
  PipelineConfig config;  // effective
  std::unique_ptr<DataSource> data;
  std::vector<SweepAxis> axes;           // one for each sweep
  int left_out = 0;                      // combinations that an `except` names
  std::vector<PlannedStart> starts;      // at least one
  std::vector<PlannedStep> steps;        // each after those that it goes on from
  std::vector<PlannedVariant> variants;  // at least one
  std::optional<TableLayout> table;      // where the config wants one
  std::string resume_folder;             // the run to go on with; empty: a new one
};

struct PlanOptions {
  bool resume = false;
  // Where images come from instead of the config's data set; for tests.
  DataSource::Open open_data;
};

// Checks everything that can be checked before the first image is looked at: makes the steps of every variant, loads
// models and data, holds the order of the steps against what they need, and has each step plan its work. Errors are
// located. From here on the config's number of threads is in force, for the run too.
absl::StatusOr<RunPlan> PlanRun(const Config& config, const PlanOptions& options);

// What `variant` is called at the step path[position]: its values of those axes that have made a difference by then.
VariantLabel LabelAt(const RunPlan& plan, const PlannedVariant& variant, size_t position);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_RUN_PLAN_H_
