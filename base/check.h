#ifndef LOWBIT_BASE_CHECK_H_
#define LOWBIT_BASE_CHECK_H_

#include <string>

#include "absl/strings/str_cat.h"

// Ends the process with the place, the condition and a message when `condition` is false:
//
//   LOWBIT_CHECK(index < size, "index ", index, " of ", size);
//
// For our own mistakes only. What a user can cause (a file, a config, a tensor of theirs) is an absl::Status.
// The pieces of the message are those of absl::StrCat and are evaluated only on failure.
#define LOWBIT_CHECK(condition, ...)                                                                \
  do {                                                                                              \
    if (!(condition)) {                                                                             \
      ::lowbit::internal::CheckFailed(__FILE__, __LINE__, #condition, ::absl::StrCat(__VA_ARGS__)); \
    }                                                                                               \
  } while (false)

namespace lowbit {
namespace internal {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace internal
}  // namespace lowbit

#endif  // LOWBIT_BASE_CHECK_H_
