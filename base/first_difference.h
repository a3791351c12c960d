#ifndef LOWBIT_BASE_FIRST_DIFFERENCE_H_
#define LOWBIT_BASE_FIRST_DIFFERENCE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace lowbit {

// Of two texts that are not the same: `"epochs: 3" there, "epochs: 4" here`, from the first line that differs. A
// line that is not there is empty.
std::string FirstDifference(absl::string_view there, absl::string_view here);

}  // namespace lowbit

#endif  // LOWBIT_BASE_FIRST_DIFFERENCE_H_
