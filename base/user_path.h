#ifndef LOWBIT_BASE_USER_PATH_H_
#define LOWBIT_BASE_USER_PATH_H_

#include <string>

#include "absl/strings/string_view.h"

namespace lowbit {

// A path as the user means it: relative ones start at the folder that they stand in. `bazel run` starts programs
// elsewhere, and says where that folder is in BUILD_WORKING_DIRECTORY.
std::string UserPath(absl::string_view path);

}  // namespace lowbit

#endif  // LOWBIT_BASE_USER_PATH_H_
