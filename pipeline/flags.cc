#include "pipeline/flags.h"

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/did_you_mean.h"
#include "base/status_macros.h"

ABSL_FLAG(std::string, config, "",
          "what to run: a PipelineConfig in text format, such as configs/bit_width_sweep.textproto");
ABSL_FLAG(std::string, set, "",
          "path=value: gives a field of the config another value; may be repeated. "
          "--set steps[3].evaluate.max_images=1000");
ABSL_FLAG(std::string, data_dir, "",
          "the folder with CIFAR-10's .bin files; without it, the config's, else the fetched copy");
ABSL_FLAG(std::string, output_dir, "", "where the run makes its folder; without it, the config's");
ABSL_FLAG(std::string, threads, "", "threads for the arithmetic, 0: one for each core; without it, the config's");
ABSL_FLAG(bool, resume, false, "go on with the run of this name whose checkpoint was written last");
ABSL_FLAG(bool, dry_run, false, "check everything, print what would be done, and stop before the first image");
ABSL_FLAG(bool, list, false,
          "print all fields of a config, the steps, and the quantizers with their options, and stop");

namespace lowbit {
namespace {

const std::vector<std::string>& FlagNames() {
  static const auto* const names =
      new std::vector<std::string>{"config", "set", "data_dir", "output_dir", "threads", "resume", "dry_run", "list"};
  return *names;
}

absl::CommandLineFlag* FindFlag(const std::string& name) {
  for (const std::string& known : FlagNames()) {
    if (name == known) return absl::FindCommandLineFlag(name);
  }
  return nullptr;
}

struct Argument {
  std::string name;
  absl::CommandLineFlag* flag = nullptr;
  std::string value;
  bool has_value = false;  // Else the next argument may be it.
};

// `--name`, `--name=value`, `--noname`.
absl::StatusOr<Argument> Split(absl::string_view text) {
  absl::string_view rest = text;
  if (!absl::ConsumePrefix(&rest, "--")) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no flag; a config is given as --config=<file>"));
  }
  const size_t equals = rest.find('=');
  Argument argument;
  argument.name = std::string(rest.substr(0, equals));
  argument.has_value = equals != absl::string_view::npos;
  argument.value = argument.has_value ? std::string(rest.substr(equals + 1)) : "true";
  argument.flag = FindFlag(argument.name);
  if (argument.flag == nullptr && !argument.has_value && absl::StartsWith(argument.name, "no")) {
    argument.flag = FindFlag(argument.name.substr(2));
    if (argument.flag != nullptr && !argument.flag->IsOfType<bool>()) argument.flag = nullptr;
    argument.value = "false";
  }
  if (argument.flag == nullptr) {
    return absl::InvalidArgumentError(UnknownNameMessage("flag", argument.name, FlagNames()));
  }
  return argument;
}

}  // namespace

absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments) {
  Flags flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--help") {
      flags.help = true;
      continue;
    }
    LOWBIT_ASSIGN_OR_RETURN(Argument argument, Split(arguments[i]));
    if (!argument.has_value && !argument.flag->IsOfType<bool>()) {
      if (++i == arguments.size() || absl::StartsWith(arguments[i], "--")) {
        return absl::InvalidArgumentError(absl::StrCat("--", argument.name, " needs a value"));
      }
      argument.value = arguments[i];
    }
    std::string error;
    if (!argument.flag->ParseFrom(argument.value, &error)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", argument.name, "=", argument.value, ": \"", argument.value, "\" is no value for it"));
    }
    if (argument.name == "set") flags.set.push_back(argument.value);
  }
  flags.config = absl::GetFlag(FLAGS_config);
  flags.data_dir = absl::GetFlag(FLAGS_data_dir);
  flags.output_dir = absl::GetFlag(FLAGS_output_dir);
  flags.threads = absl::GetFlag(FLAGS_threads);
  flags.resume = absl::GetFlag(FLAGS_resume);
  flags.dry_run = absl::GetFlag(FLAGS_dry_run);
  flags.list = absl::GetFlag(FLAGS_list);
  return flags;
}

std::string HelpText() {
  std::string text =
      "Lowbit: post-training quantization of convolutional networks, as a text config says.\n\n"
      "  tools/bazel run //pipeline -- --config=configs/bit_width_sweep.textproto\n\n";
  for (const std::string& name : FlagNames()) {
    absl::StrAppend(&text, "  --", name, "\n      ", absl::FindCommandLineFlag(name)->Help(), "\n");
  }
  absl::StrAppend(&text,
                  "\nExit code: 0 done, 1 the run failed, 2 a mistake in the config, the files or the command line, "
                  "130 interrupted.\n");
  return text;
}

}  // namespace lowbit
