#ifndef LOWBIT_PIPELINE_SWEEP_H_
#define LOWBIT_PIPELINE_SWEEP_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/config.h"

namespace lowbit {

// One of a config's sweeps: what its values are called, and where they first make a difference.
struct SweepAxis {
  std::string column;               // "bits"
  std::vector<std::string> values;  // "2", "4": of values what they are, of cases their names; at least one
  // The first step that a field of it belongs to; -1: the model, which is there before the first step. Sweeps of the
  // seed have the number of steps here, for what uses it is for the steps to say.
  int first_step = 0;
  bool touches_seed = false;
};

// One combination of the sweeps' values.
struct SweepVariant {
  std::vector<int> choice;  // of each axis the index of its value
  Config config;            // with the values in all the fields
};

struct Sweep {
  std::vector<SweepAxis> axes;         // in the config's order
  std::vector<SweepVariant> variants;  // at least one; the last axis' values change fastest
  int left_out = 0;                    // combinations that an `except` names
};

// Expands the config's sweeps: every combination of their values that no `except` leaves out. Without a sweep there is
// one variant, the config itself. A later sweep's settings are made after an earlier one's. Errors are located
// (Config::Locate).
absl::StatusOr<Sweep> ExpandSweep(const Config& config);

// Calls `on_field` with each path of a field that a sweep sets.
void ForEachSweptField(const PipelineConfig& config, const std::function<void(const std::string& path)>& on_field);

// How a variant is called, or the part of it that is decided where only some axes have made a difference.
struct VariantLabel {
  std::string text;  // "4"; of several sweeps "bits=4,seed=1"; empty where nothing is decided
  std::string file;  // "bits=4"; "bits=4,seed=1", with whatever is unusual in a file's name replaced by "_"
};

// `decided[i]` says whether axis i counts.
VariantLabel LabelOf(const std::vector<SweepAxis>& axes, const std::vector<int>& choice,
                     const std::vector<bool>& decided);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_SWEEP_H_
