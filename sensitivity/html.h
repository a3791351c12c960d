#ifndef LOWBIT_SENSITIVITY_HTML_H_
#define LOWBIT_SENSITIVITY_HTML_H_

#include <string>

#include "absl/strings/string_view.h"
#include "sensitivity/report.h"

namespace lowbit {

// The report as one page that needs nothing besides itself: bars of the harm by layer and width, a histogram of each
// weight and of each tensor read with the levels of its grid, and a table that a click on its head sorts. Well-formed
// XML as far as tags go. `title` is the run's name.
std::string SensitivityHtml(const SensitivityReport& report, absl::string_view title);

}  // namespace lowbit

#endif  // LOWBIT_SENSITIVITY_HTML_H_
