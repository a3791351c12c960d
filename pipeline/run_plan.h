#ifndef LOWBIT_PIPELINE_RUN_PLAN_H_
#define LOWBIT_PIPELINE_RUN_PLAN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/data_source.h"
#include "pipeline/model_source.h"
#include "pipeline/step.h"

namespace lowbit {

// The run for one value of a sweep, or the run.
struct PlannedVariant {
  std::string value;      // empty where there is no sweep
  Config source;          // for the positions of errors
  PipelineConfig config;  // effective
  LoadedModel start;
  uint64_t seed = 0;
  std::vector<std::unique_ptr<Step>> steps;
  StatsRequests requests;
  std::vector<PlannedTensor> quantization;
};

// A config that was found good.
struct RunPlan {
  PipelineConfig config;  // effective
  std::unique_ptr<DataSource> data;
  std::vector<PlannedVariant> variants;  // at least one
  int shared_steps = 0;                  // of variants[0]: done once, for all
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

// For people: model, data, steps, and for each layer what will become of its weights and of the tensor that it reads.
std::string PlanText(const RunPlan& plan);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_RUN_PLAN_H_
