#include "base/program.h"

#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/progress.h"

namespace lowbit {

int FailWith(const absl::Status& status, int exit_code) {
  if (absl::IsCancelled(status)) {
    LogLine("interrupted");
    return kExitInterrupted;
  }
  LogLine(absl::StrCat("error: ", status.message()));
  return exit_code;
}

int PrintOutput(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return kExitDone;
  LogLine(absl::StrCat("error: cannot write to standard output: ", std::generic_category().message(errno)));
  return kExitRunFailed;
}

int RunProgram(const std::function<int()>& program) {
  try {
    return program();
  } catch (const std::bad_alloc&) {
    return FailWith(absl::ResourceExhaustedError("out of memory"), kExitRunFailed);
  } catch (const std::exception& error) {
    return FailWith(absl::InternalError(error.what()), kExitRunFailed);
  }
}

}  // namespace lowbit
