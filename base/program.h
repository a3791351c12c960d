#ifndef LOWBIT_BASE_PROGRAM_H_
#define LOWBIT_BASE_PROGRAM_H_

// What the mains of our programs share.

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace lowbit {

constexpr int kExitDone = 0;
constexpr int kExitRunFailed = 1;
constexpr int kExitUserError = 2;
constexpr int kExitInterrupted = 130;  // what a shell makes of SIGINT

// Says so on standard error. Returns `exit_code`, or kExitInterrupted where the status is Cancelled.
int FailWith(const absl::Status& status, int exit_code);

// Prints to standard output. Returns the exit code.
int PrintOutput(const std::string& text);

// What `program` returns. An exception that comes up, which is mostly memory that ran out, is told like an error.
int RunProgram(const std::function<int()>& program);

}  // namespace lowbit

#endif  // LOWBIT_BASE_PROGRAM_H_
