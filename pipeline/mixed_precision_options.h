#ifndef LOWBIT_PIPELINE_MIXED_PRECISION_OPTIONS_H_
#define LOWBIT_PIPELINE_MIXED_PRECISION_OPTIONS_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mixed_precision/choice.h"
#include "model/graph.h"
#include "pipeline/config.pb.h"

namespace lowbit {

// What makes no sense in a mixed_precision step whatever the network. Errors name the field.
absl::Status CheckMixedPrecision(const MixedPrecisionStep& config);

// What it lets be chosen, of a network's `layers` that are measured at the widths `measured`, descending. Errors name
// the field: a width that is not measured, a `keep` that is no regular expression or matches nothing.
absl::StatusOr<BitsOptions> MakeBitsOptions(const MixedPrecisionStep& config, const Graph& graph,
                                            const std::vector<int>& layers, const std::vector<int>& measured);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_MIXED_PRECISION_OPTIONS_H_
