#include "pipeline/flags.h"

#include "absl/strings/str_cat.h"
#include "base/command_line.h"
#include "base/status_macros.h"

namespace lowbit {
namespace {

std::vector<CommandLineFlag> AllFlags(Flags* flags) {
  return {
      {"config", "what to run: a PipelineConfig in text format, such as configs/bit_width_sweep.textproto",
       &flags->config},
      {"set",
       "path=value: gives a field of the config another value; may be repeated. "
       "--set steps[3].evaluate.max_images=1000",
       &flags->set},
      {"data_dir", "the folder with CIFAR-10's .bin files; without it, the config's, else the fetched copy",
       &flags->data_dir},
      {"output_dir", "where the run makes its folder; without it, the config's", &flags->output_dir},
      {"threads", "threads for the arithmetic, 0: one for each core; without it, the config's", &flags->threads},
      {"resume", "go on with the run of this name whose checkpoint was written last", &flags->resume},
      {"dry_run", "check everything, print what would be done, and stop before the first image", &flags->dry_run},
      {"list", "print all fields of a config, the steps, and the quantizers with their options, and stop",
       &flags->list},
  };
}

}  // namespace

absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments) {
  Flags flags;
  LOWBIT_RETURN_IF_ERROR(
      ParseCommandLine(arguments, "a config is given as --config=<file>", AllFlags(&flags), &flags.help));
  return flags;
}

std::string HelpText() {
  Flags unused;
  return absl::StrCat(
      "Lowbit: post-training quantization of convolutional networks, as a text config says.\n\n",
      "  tools/bazel run //pipeline -- --config=configs/bit_width_sweep.textproto\n\n",
      CommandLineHelp(AllFlags(&unused)),
      "\nExit code: 0 done, 1 the run failed, 2 a mistake in the config, the files or the command line, "
      "130 interrupted.\n");
}

}  // namespace lowbit
