#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "model/parameters.h"
#include "pipeline/paths.h"
#include "pipeline/steps/steps.h"

namespace lowbit {
namespace {

at::ScalarType ScalarType(FloatType type) {
  if (type == FLOAT16) return at::kHalf;
  return type == BFLOAT16 ? at::kBFloat16 : at::kFloat;
}

class SaveStepImpl : public Step {
 public:
  explicit SaveStepImpl(const SaveStep& config) : config_(config) {}

  std::string name() const override { return "save"; }
  bool uses_seed() const override { return false; }
  bool is_quantization_work() const override { return false; }
  std::vector<Fact> needs() const override { return {Fact::kWeights}; }
  // A quantized model is saved by itself; its float parameters would not be what the table is about.
  std::vector<Fact> refuses() const override { return {Fact::kQuantized}; }

  absl::Status Plan(PlanState&) const override { return absl::OkStatus(); }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    const std::string path = JoinPath(context.folder, config_.file());
    LOWBIT_RETURN_IF_ERROR(MakeDirs(context.folder));
    LOWBIT_RETURN_IF_ERROR(SaveParameters(path, state.model.parameters, {}, ScalarType(config_.dtype())));
    context.report->steps.back()["file"] = path;
    LogLine(absl::StrCat("save: ", path));
    return absl::OkStatus();
  }

 private:
  const SaveStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeSaveStep(const SaveStep& config) {
  const std::string& file = config.file();
  if (absl::StrContains(file, "/")) {
    return FieldError("file",
                      absl::StrCat("names a file in the run's folder, so it holds no \"/\"; got \"", file, "\""));
  }
  for (const char* ending : {".safetensors", ".pt", ".pth"}) {
    // A packed model, or a training's own file, under the same name would be replaced.
    if (absl::EndsWith(file, ending) && !absl::StartsWith(file, "model") && file != "best.safetensors" &&
        file != "checkpoint.safetensors" && file != "int8.pt") {
      return std::make_unique<SaveStepImpl>(config);
    }
  }
  return FieldError(
      "file", absl::StrCat("must end in .safetensors, .pt or .pth, and not be the name of a file that a run writes "
                           "by itself (model*, best.safetensors, checkpoint.safetensors, int8.pt); got \"",
                           file, "\""));
}

}  // namespace lowbit
