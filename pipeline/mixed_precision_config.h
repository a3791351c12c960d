#ifndef LOWBIT_PIPELINE_MIXED_PRECISION_CONFIG_H_
#define LOWBIT_PIPELINE_MIXED_PRECISION_CONFIG_H_

#include "mixed_precision/choice.h"
#include "model/graph.h"
#include "pipeline/config.pb.h"

namespace lowbit {

// A config that makes the model that a mixed_precision step made, without it: `config` (effective, with a sensitivity
// and a mixed_precision step) with a quantize step in its place, whose rules name every layer; without sensitivity step
// and sweep; and with an evaluate step at the end if none comes after.
PipelineConfig ConfigWithBits(const PipelineConfig& config, const Graph& graph, const BitsAssignment& assignment);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_MIXED_PRECISION_CONFIG_H_
