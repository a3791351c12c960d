#ifndef LOWBIT_PIPELINE_LOGIT_DIFFERENCE_H_
#define LOWBIT_PIPELINE_LOGIT_DIFFERENCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/normalize.h"
#include "model/parameters.h"

namespace lowbit {

// The largest difference between the two networks' outputs over these images of the data set. `step` is who compares,
// for the progress bar. InvalidArgument if an output is NaN or infinite.
absl::StatusOr<double> MaxLogitDifference(const Model& a, const Model& b, const Dataset& dataset,
                                          const Normalization& normalization, std::vector<int64_t> images,
                                          const std::string& step);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_LOGIT_DIFFERENCE_H_
