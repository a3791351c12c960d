#ifndef LOWBIT_PIPELINE_EFFECTIVE_CONFIG_H_
#define LOWBIT_PIPELINE_EFFECTIVE_CONFIG_H_

#include <string>

#include "pipeline/config.pb.h"

namespace lowbit {

// The same config with everything spelled out that it leaves to defaults, the options of its quantizers included. This
// is what runs; of a sweep, that of each of its variants.
PipelineConfig EffectiveConfig(const PipelineConfig& config);

// What a run writes beside its results, which run again gives the same: the effective config, but where a sweep sets
// what decides on other fields (reconstruct's preset, distill's num_images) those are left to it.
PipelineConfig RecordedConfig(const PipelineConfig& config);

// In text format, for a file.
std::string ConfigText(const PipelineConfig& config);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_EFFECTIVE_CONFIG_H_
