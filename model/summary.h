#ifndef LOWBIT_MODEL_SUMMARY_H_
#define LOWBIT_MODEL_SUMMARY_H_

#include <string>

#include "model/graph.h"

namespace lowbit {

// A table for people: one row per layer with its operation, output shape, parameters and MACs, and a last row with the
// totals. Ends with a newline.
std::string Summary(const Graph& graph);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_SUMMARY_H_
