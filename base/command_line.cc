#include "base/command_line.h"

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/did_you_mean.h"
#include "base/status_macros.h"

namespace lowbit {
namespace {

const CommandLineFlag* Find(const std::vector<CommandLineFlag>& flags, absl::string_view name) {
  for (const CommandLineFlag& flag : flags) {
    if (flag.name == name) return &flag;
  }
  return nullptr;
}

bool IsSwitch(const CommandLineFlag& flag) { return std::holds_alternative<bool*>(flag.value); }

struct Argument {
  const CommandLineFlag* flag = nullptr;
  std::string value;
  bool has_value = false;  // else the next argument may be it
};

// `--name`, `--name=value`, `--noname`.
absl::StatusOr<Argument> Split(absl::string_view text, absl::string_view hint,
                               const std::vector<CommandLineFlag>& flags) {
  absl::string_view rest = text;
  if (!absl::ConsumePrefix(&rest, "--")) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no flag; ", hint));
  }
  const size_t equals = rest.find('=');
  const absl::string_view name = rest.substr(0, equals);
  Argument argument;
  argument.has_value = equals != absl::string_view::npos;
  argument.value = argument.has_value ? std::string(rest.substr(equals + 1)) : "true";
  argument.flag = Find(flags, name);
  if (argument.flag == nullptr && !argument.has_value && absl::StartsWith(name, "no")) {
    argument.flag = Find(flags, name.substr(2));
    if (argument.flag != nullptr && !IsSwitch(*argument.flag)) argument.flag = nullptr;
    argument.value = "false";
  }
  if (argument.flag == nullptr) {
    std::vector<std::string> names;
    for (const CommandLineFlag& flag : flags) names.push_back(flag.name);
    return absl::InvalidArgumentError(UnknownNameMessage("flag", name, names));
  }
  return argument;
}

// False if `text` is no value of this type.
struct SetValue {
  const std::string& text;

  bool operator()(bool* value) const { return absl::SimpleAtob(text, value); }
  bool operator()(int* value) const { return absl::SimpleAtoi(text, value); }
  bool operator()(std::string* value) const {
    *value = text;
    return true;
  }
  bool operator()(std::vector<std::string>* values) const {
    values->push_back(text);
    return true;
  }
};

}  // namespace

absl::Status ParseCommandLine(const std::vector<std::string>& arguments, absl::string_view hint,
                              const std::vector<CommandLineFlag>& flags, bool* help) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--help") {
      *help = true;
      continue;
    }
    LOWBIT_ASSIGN_OR_RETURN(Argument argument, Split(arguments[i], hint, flags));
    if (!argument.has_value && !IsSwitch(*argument.flag)) {
      if (++i == arguments.size() || absl::StartsWith(arguments[i], "--")) {
        return absl::InvalidArgumentError(absl::StrCat("--", argument.flag->name, " needs a value"));
      }
      argument.value = arguments[i];
    }
    if (!std::visit(SetValue{argument.value}, argument.flag->value)) {
      return absl::InvalidArgumentError(absl::StrCat("--", argument.flag->name, "=", argument.value, ": \"",
                                                     argument.value, "\" is no value for it"));
    }
  }
  return absl::OkStatus();
}

std::string CommandLineHelp(const std::vector<CommandLineFlag>& flags) {
  std::string text;
  for (const CommandLineFlag& flag : flags) absl::StrAppend(&text, "  --", flag.name, "\n      ", flag.help, "\n");
  return text;
}

}  // namespace lowbit
