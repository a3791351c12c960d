#ifndef LOWBIT_PIPELINE_MIXED_PRECISION_REPORT_H_
#define LOWBIT_PIPELINE_MIXED_PRECISION_REPORT_H_

#include <string>
#include <vector>

#include "base/table.h"
#include "evaluation/answer_change.h"
#include "mixed_precision/choice.h"
#include "model/graph.h"
#include "nlohmann/json.hpp"

namespace lowbit {

// A choice of bits, and what the network quantized so does.
struct VerifiedBits {
  std::string name;
  BitsAssignment bits;
  AnswerChange change;  // on the sensitivity step's images
};

// A row for each layer. The KL of a tensor counts for the first of the layers that read it.
TableRows BitsTable(const Graph& graph, const BitsProblem& problem, const BitsAssignment& bits);

// A row for each choice.
TableRows BitsComparison(const BitsProblem& problem, const std::vector<VerifiedBits>& choices);

// Both; the layers are those of the first choice.
nlohmann::ordered_json MixedPrecisionJson(const Graph& graph, const BitsProblem& problem,
                                          const std::vector<VerifiedBits>& choices);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_MIXED_PRECISION_REPORT_H_
