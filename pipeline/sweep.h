#ifndef LOWBIT_PIPELINE_SWEEP_H_
#define LOWBIT_PIPELINE_SWEEP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pipeline/config.h"

namespace lowbit {

struct SweepVariant {
  std::string value;  // "4"; empty where there is no sweep
  Config config;      // with the value in all the fields
};

struct Sweep {
  std::vector<SweepVariant> variants;  // at least one
  // So many steps from the first on are the same in all variants, and so is what they start from: they are done once.
  int shared_steps = 0;
};

// Expands the config's sweep; without one there is one variant, the config itself, which shares nothing. Errors are
// located (Config::Locate).
absl::StatusOr<Sweep> ExpandSweep(const Config& config);

// For file names: "bits=4", from column and value, with whatever is unusual in a file name replaced by "_".
std::string VariantFileName(const std::string& column, const std::string& value);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_SWEEP_H_
