#ifndef LOWBIT_PIPELINE_RUN_H_
#define LOWBIT_PIPELINE_RUN_H_

#include <string>

#include "absl/status/statusor.h"
#include "pipeline/report.h"
#include "pipeline/run_plan.h"

namespace lowbit {

struct RunResult {
  std::string folder;  // empty if it could not be made, or is in use by another run
  Report report;
};

// Makes the folder <output_dir>/<config>-<YYYYmmdd-HHMMSS>/ (or goes on in the one to resume) and does the steps: what
// several variants of a sweep have in common once, then each one's own from a copy of that state. Leaves there
//   config.textproto                       the effective config; running it again gives the same models
//   report.json, report.md                 see report.h
//   table.md                               the table of a sweep, if the config wants one
//   model.safetensors                      the packed model, if the run quantized one; in a sweep one for each variant,
//                                          model_<column>=<value>,<column>=<value>.safetensors
//   tensorboard/                           events; those of a variant in a folder of its own, <column>=<value>/
// and what a train step, a save step and an evaluate step write. Every file appears whole or not at all, a packed model
// as soon as it was made. Errors of a step are located; Cancelled when interrupted. On an error too `result` and the
// reports hold what was done until then.
absl::Status ExecuteRun(const RunPlan& plan, RunResult* result);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_RUN_H_
