#include "pipeline/pipeline_main.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/program.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/user_path.h"
#include "pipeline/config.h"
#include "pipeline/flags.h"
#include "pipeline/list.h"
#include "pipeline/pivot_table.h"
#include "pipeline/plan_text.h"
#include "pipeline/run.h"
#include "pipeline/run_plan.h"

namespace lowbit {
namespace {

// The config with what the command line changes.
absl::StatusOr<Config> LoadConfig(const Flags& flags) {
  if (flags.config.empty()) return absl::InvalidArgumentError("--config=<file> is missing; --help says more");
  LOWBIT_ASSIGN_OR_RETURN(const std::string text, ReadFile(UserPath(flags.config)));
  LOWBIT_ASSIGN_OR_RETURN(Config config, Config::Parse(text, flags.config));
  for (const std::string& assignment : flags.set) {
    const size_t equals = assignment.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("--set ", assignment, ": should be path=value"));
    }
    LOWBIT_RETURN_IF_ERROR(
        config.Set(assignment.substr(0, equals), assignment.substr(equals + 1), absl::StrCat("--set ", assignment)));
  }
  const auto set_flag = [&](const char* path, const char* name, const std::string& value) {
    return value.empty() ? absl::OkStatus() : config.Set(path, value, absl::StrCat("--", name, "=", value));
  };
  LOWBIT_RETURN_IF_ERROR(set_flag("dataset.data_dir", "data_dir", flags.data_dir));
  LOWBIT_RETURN_IF_ERROR(set_flag("output_dir", "output_dir", flags.output_dir));
  LOWBIT_RETURN_IF_ERROR(set_flag("threads", "threads", flags.threads));
  return config;
}

// Whether an error that came up while a config was checked is no mistake of the user's.
bool IsOurs(const absl::Status& status) { return absl::IsInternal(status) || absl::IsResourceExhausted(status); }

absl::StatusOr<RunPlan> Check(const Flags& flags) {
  LOWBIT_ASSIGN_OR_RETURN(const Config config, LoadConfig(flags));
  PlanOptions options;
  options.resume = flags.resume;
  return PlanRun(config, options);
}

int Main(const std::vector<std::string>& arguments) {
  InstallInterruptHandler();
  const absl::StatusOr<Flags> flags = ParseFlags(arguments);
  if (!flags.ok()) return FailWith(flags.status(), kExitUserError);
  if (flags->help || flags->list) return PrintOutput(flags->help ? HelpText() : ListText());
  const absl::StatusOr<RunPlan> plan = Check(*flags);
  if (!plan.ok()) return FailWith(plan.status(), IsOurs(plan.status()) ? kExitRunFailed : kExitUserError);
  if (flags->dry_run) return PrintOutput(PlanText(*plan));
  RunResult result;
  const absl::Status status = ExecuteRun(*plan, &result);
  if (status.ok()) LogLine(absl::StrCat("done: ", result.folder, "/report.md"));
  // What was found out before an error is worth seeing too.
  const PivotTable& table = result.report.table;
  const int printed = PrintOutput(table.pages.empty() ? ReportTable(result.report) : PivotText(table));
  if (status.ok()) return printed;
  return FailWith(status, result.folder.empty() ? kExitUserError : kExitRunFailed);
}

}  // namespace

int PipelineMain(const std::vector<std::string>& arguments) {
  // LibTorch's exceptions are caught where it is called.
  return RunProgram([&] { return Main(arguments); });
}

}  // namespace lowbit
