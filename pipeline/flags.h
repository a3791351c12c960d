#ifndef LOWBIT_PIPELINE_FLAGS_H_
#define LOWBIT_PIPELINE_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lowbit {

// The command line.
struct Flags {
  std::string config;
  std::vector<std::string> set;  // "path=value", in order
  std::string data_dir;
  std::string output_dir;
  std::string threads;  // empty: not given
  bool resume = false;
  bool dry_run = false;
  bool list = false;
  bool help = false;
};

// InvalidArgument for what is no flag or no value: base/command_line.h.
absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments);

// What --help prints.
std::string HelpText();

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_FLAGS_H_
