#ifndef LOWBIT_BASE_COMMAND_LINE_H_
#define LOWBIT_BASE_COMMAND_LINE_H_

#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lowbit {

// A flag of a program. Given several times, a list has all values in order and the others have the last one.
struct CommandLineFlag {
  std::string name;
  std::string help;
  std::variant<bool*, int*, std::string*, std::vector<std::string>*> value;
};

// Reads `--name=value`, `--name value` and, for a bool, `--name` and `--noname`; `--help` sets *help. InvalidArgument,
// with the flag that was probably meant, for what is none; `hint` ends the message about an argument that does not even
// look like one. (absl::ParseCommandLine would end the process with exit code 1 and keep only the last of a list.)
absl::Status ParseCommandLine(const std::vector<std::string>& arguments, absl::string_view hint,
                              const std::vector<CommandLineFlag>& flags, bool* help);

// For --help: the flags, each with a line of its own and its text below.
std::string CommandLineHelp(const std::vector<CommandLineFlag>& flags);

}  // namespace lowbit

#endif  // LOWBIT_BASE_COMMAND_LINE_H_
