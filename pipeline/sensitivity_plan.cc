#include "pipeline/sensitivity_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/did_you_mean.h"
#include "base/field_error.h"
#include "re2/re2.h"

namespace lowbit {

absl::StatusOr<std::vector<int>> MatchLayers(const std::string& expression, const Graph& graph,
                                             const std::vector<int>& candidates, absl::string_view kind) {
  const RE2 regex(expression, RE2::Quiet);
  if (!regex.ok()) {
    return FieldError("layers", absl::StrCat("\"", expression, "\" is no regular expression: ", regex.error()));
  }
  std::vector<int> matched;
  std::vector<std::string> names;
  for (const int layer : candidates) {
    names.push_back(graph.layer(layer).name);
    if (RE2::FullMatch(names.back(), regex)) matched.push_back(layer);
  }
  if (!matched.empty()) return matched;
  return FieldError("layers", absl::StrCat("\"", expression, "\" matches no ", kind, DidYouMean(expression, names),
                                           "; there are: ", absl::StrJoin(names, ", ")));
}

absl::Status CheckUnchanged(const ParameterMap& measured, const ParameterMap& now) {
  const bool same =
      std::equal(measured.begin(), measured.end(), now.begin(), now.end(),
                 [](const auto& a, const auto& b) { return a.first == b.first && a.second.is_same(b.second); });
  if (same) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "a step in between changes the network that the sensitivity step measures; put the sensitivity step after it");
}

}  // namespace lowbit
