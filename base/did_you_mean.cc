#include "base/did_you_mean.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lowbit {
namespace {

std::string Normalized(absl::string_view name) {
  std::string result = absl::AsciiStrToLower(name);
  std::replace(result.begin(), result.end(), '-', '_');
  return result;
}

// The least number of insertions, removals, replacements and swaps of neighbours that make b of a, where no part is
// changed twice (optimal string alignment).
size_t EditDistance(const std::string& a, const std::string& b) {
  // Rows i-2, i-1 and i of the table whose element [i][j] is the distance of a's first i and b's first j characters.
  std::vector<size_t> before_last, last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    before_last = last;
    last = row;
  }
  return last[b.size()];
}

}  // namespace

std::string DidYouMean(absl::string_view name, const std::vector<std::string>& candidates) {
  const std::string wanted = Normalized(name);
  const std::string* best = nullptr;
  size_t best_distance = 0;
  for (const std::string& candidate : candidates) {
    const std::string other = Normalized(candidate);
    const size_t longer = std::max(wanted.size(), other.size());
    // A third of the letters may be wrong, and one always, but not all.
    const size_t limit = std::max<size_t>(1, longer / 3);
    const size_t length_difference = longer - std::min(wanted.size(), other.size());
    if (length_difference > limit) continue;  // the distance is no less
    const size_t distance = EditDistance(wanted, other);
    if (distance > limit || distance >= longer) continue;
    if (best == nullptr || distance < best_distance || (distance == best_distance && candidate < *best)) {
      best = &candidate;
      best_distance = distance;
    }
  }
  return best == nullptr ? "" : absl::StrCat("; did you mean \"", *best, "\"?");
}

std::string UnknownNameMessage(absl::string_view kind, absl::string_view name, std::vector<std::string> candidates) {
  std::sort(candidates.begin(), candidates.end());
  return absl::StrCat("unknown ", kind, " \"", name, "\"", DidYouMean(name, candidates),
                      candidates.empty() ? std::string(" (none is known)")
                                         : absl::StrCat(" (known: ", absl::StrJoin(candidates, ", "), ")"));
}

}  // namespace lowbit
