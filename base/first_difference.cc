#include "base/first_difference.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace lowbit {

std::string FirstDifference(absl::string_view there, absl::string_view here) {
  const std::vector<absl::string_view> a = absl::StrSplit(there, '\n'), b = absl::StrSplit(here, '\n');
  size_t i = 0;
  while (i < std::min(a.size(), b.size()) && a[i] == b[i]) ++i;
  const auto line = [i](const std::vector<absl::string_view>& lines) { return i < lines.size() ? lines[i] : ""; };
  return absl::StrCat("\"", line(a), "\" there, \"", line(b), "\" here");
}

}  // namespace lowbit
