#ifndef LOWBIT_BASE_DID_YOU_MEAN_H_
#define LOWBIT_BASE_DID_YOU_MEAN_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lowbit {

// `; did you mean "min_max"?` for the one of `candidates` that is nearest to `name`, or "" where none is near enough to
// be a slip of the hand. Case, and "-" for "_", count as nothing; a swap of two neighbours counts as one change.
// Of equally near candidates the alphabetically first is named.
std::string DidYouMean(absl::string_view name, const std::vector<std::string>& candidates);

// `unknown quantizer "minmax"; did you mean "min_max"? (known: min_max, per_channel)`. `kind` is what is named. The
// known names are sorted; without any, the end is `(none is known)`.
std::string UnknownNameMessage(absl::string_view kind, absl::string_view name, std::vector<std::string> candidates);

}  // namespace lowbit

#endif  // LOWBIT_BASE_DID_YOU_MEAN_H_
