#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "pipeline/calibration_images.h"
#include "pipeline/paths.h"
#include "pipeline/steps/steps.h"
#include "quant/activation_cache.h"
#include "reconstruction/checkpoint.h"
#include "reconstruction/reconstruct_defaults.h"
#include "reconstruction/reconstruction.h"

namespace lowbit {
namespace {

// Images that go through the network at once where nothing is learned.
constexpr int64_t kBatch = 256;

double Percent(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string Describe(const BlockReport& block) {
  if (!block.fallback.empty()) {
    return absl::StrFormat("error %.4g, kept as it was: %s", block.start_error, block.fallback);
  }
  std::string text = absl::StrFormat("error %.4g -> %.4g, %.1f s", block.start_error, block.end_error, block.seconds);
  if (block.roundings > 0) {
    absl::StrAppendFormat(&text, ", %.1f %% of the codes changed, %.2f %% of the roundings undecided",
                          Percent(block.flipped, block.roundings), Percent(block.undecided, block.roundings));
  }
  return text;
}

class ReconstructStepImpl : public Step {
 public:
  explicit ReconstructStepImpl(const ReconstructConfig& config) : config_(config) {}

  std::string name() const override { return "reconstruct"; }
  std::vector<Fact> needs() const override { return {Fact::kWeights, Fact::kQuantized, Fact::kFloatTwin}; }
  std::vector<Fact> makes() const override { return {Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_RETURN_IF_ERROR(CheckFolded(plan.model.graph));
    if (BlocksToReconstruct(plan.model.graph, config_).empty()) {
      return absl::InvalidArgumentError("no block was found: no layer has a weight");
    }
    return PlanTrainingImages("num_images", config_.num_images(), plan);
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(const CalibrationImages drawn,
                            DrawCalibrationImages(config_.num_images(), kBatch, context));
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor images, LoadCalibrationImages(config_.num_images(), context));
    const std::string fingerprint = ReconstructionFingerprint(state.model, *state.quantized, config_, context.seed,
                                                              DigestParameters({{"images", images}}));
    const std::string path =
        JoinPath(context.folder, absl::StrCat(NameOfItsOwn("reconstruction", *context.report), ".safetensors"));
    ReconstructionState work{*state.quantized, {}};
    std::error_code error;
    if (context.resume && std::filesystem::exists(path, error)) {
      LOWBIT_ASSIGN_OR_RETURN(work, LoadReconstruction(path, fingerprint));
    }
    LOWBIT_RETURN_IF_ERROR(MakeDirs(context.folder));
    const std::vector<Block> blocks = BlocksToReconstruct(state.model.graph, config_);
    if (!work.blocks.empty()) {
      LogLine(absl::StrCat("resuming ", path, " after block ", work.blocks.size(), " of ", blocks.size()));
    }
    const size_t done_before = work.blocks.size();
    const int64_t steps = config_.iterations() + config_.activation_iterations();
    Progress progress("reconstruct", steps * static_cast<int64_t>(blocks.size() - done_before), "steps");
    const std::string tag = NameOfItsOwn("reconstruct", *context.report);
    ReconstructionCallbacks callbacks;
    callbacks.on_step = [&](size_t block, const BlockProgress& now) -> absl::Status {
      progress.Advance(1);
      progress.SetNote(absl::StrFormat("block %d/%d %s, loss %.4g", block + 1, blocks.size(),
                                       blocks[block].Name(state.model.graph), now.loss));
      if (context.events != nullptr && now.step % kEventSteps == 0) {
        LOWBIT_RETURN_IF_ERROR(context.events->AddScalar(absl::StrCat(tag, "/", blocks[block].Name(state.model.graph)),
                                                         now.step, now.loss));
      }
      return CheckInterrupt();
    };
    callbacks.on_block = [&](const ReconstructionState& now) -> absl::Status {
      LOWBIT_RETURN_IF_ERROR(SaveReconstruction(path, now, fingerprint));
      const BlockReport& block = now.blocks.back();
      progress.Advance(steps - block.steps);  // those that were not needed
      LogLine(
          absl::StrCat("reconstruct ", now.blocks.size(), "/", blocks.size(), " ", block.name, ": ", Describe(block)));
      return absl::OkStatus();
    };
    ActivationCache cache(context.folder, config_.memory_mib() << 20);
    LOWBIT_ASSIGN_OR_RETURN(
        work, Reconstruct(state.model, std::move(work), SplitBatches(images), config_, context.seed, cache, callbacks));
    progress.Finish();
    Tell(work.blocks, context.report->steps.back());
    if (cache.most_in_files() > 0) {
      LogLine(absl::StrFormat(
          "reconstruct: up to %.1f MiB of what blocks read and put out were on the disk (memory_mib: %d)",
          static_cast<double>(cache.most_in_files()) / (1 << 20), config_.memory_mib()));
    }
    NoteSeen(drawn.indices, state);
    state.quantized = std::make_shared<QuantizedModel>(std::move(work.model));
    return absl::OkStatus();
  }

 private:
  static constexpr int64_t kEventSteps = 50;

  static std::vector<at::Tensor> SplitBatches(const at::Tensor& images) {
    std::vector<at::Tensor> batches;
    for (int64_t first = 0; first < images.size(0); first += kBatch) {
      batches.push_back(images.narrow(0, first, std::min(kBatch, images.size(0) - first)));
    }
    return batches;
  }

  static void Tell(const std::vector<BlockReport>& blocks, nlohmann::ordered_json& record) {
    int64_t roundings = 0, undecided = 0, flipped = 0, kept = 0;
    for (const BlockReport& block : blocks) {
      record["blocks"].push_back({{"block", block.name},
                                  {"start_error", block.start_error},
                                  {"end_error", block.end_error},
                                  {"steps", block.steps},
                                  {"seconds", block.seconds},
                                  {"roundings", block.roundings},
                                  {"undecided", block.undecided},
                                  {"flipped", block.flipped},
                                  {"losses", block.losses}});
      if (!block.fallback.empty()) record["blocks"].back()["fallback"] = block.fallback;
      roundings += block.roundings;
      undecided += block.undecided;
      flipped += block.flipped;
      kept += block.fallback.empty() ? 0 : 1;
    }
    LogLine(
        absl::StrFormat("reconstruct: %d blocks, %d kept as they were; %.1f %% of the codes changed, %.2f %% of the "
                        "roundings undecided before they were rounded",
                        blocks.size(), kept, Percent(flipped, roundings), Percent(undecided, roundings)));
  }

  const ReconstructConfig config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeReconstructStep(const ReconstructConfig& config) {
  LOWBIT_RETURN_IF_ERROR(CheckReconstructConfig(config));
  return std::make_unique<ReconstructStepImpl>(config);
}

}  // namespace lowbit
