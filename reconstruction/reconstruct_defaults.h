#ifndef LOWBIT_RECONSTRUCTION_RECONSTRUCT_DEFAULTS_H_
#define LOWBIT_RECONSTRUCTION_RECONSTRUCT_DEFAULTS_H_

#include "absl/status/status.h"
#include "reconstruction/reconstruct_config.pb.h"

namespace lowbit {

// Sets every field that is not set to what the preset says.
void SpellOutReconstructDefaults(ReconstructConfig* config);

// FieldError for the first field out of range. Of a config that is spelled out.
absl::Status CheckReconstructConfig(const ReconstructConfig& config);

}  // namespace lowbit

#endif  // LOWBIT_RECONSTRUCTION_RECONSTRUCT_DEFAULTS_H_
