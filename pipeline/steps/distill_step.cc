#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "data/augment.h"
#include "distillation/distiller.h"
#include "pipeline/calibration_images.h"
#include "pipeline/steps/steps.h"
#include "train/augment_options.h"

namespace lowbit {
namespace {

// Keeps the choice of held-out images apart from the seed's other random choices.
constexpr uint64_t kHeldOutImages = 0x64697374;  // "dist"

class DistillStepImpl : public Step {
 public:
  explicit DistillStepImpl(const DistillConfig& config) : config_(config) {}

  std::string name() const override { return "distill"; }
  std::vector<Fact> needs() const override { return {Fact::kWeights, Fact::kQuantized, Fact::kFloatTwin}; }
  std::vector<Fact> makes() const override { return {Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_RETURN_IF_ERROR(CheckFolded(plan.model.graph));
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, plan.data->Get(Split::kTrain));
    LOWBIT_RETURN_IF_ERROR(
        PrependField(ValidateAugment(ToAugmentOptions(config_.augment()), train->image_shape()), "augment"));
    if (config_.num_images() > 0) LOWBIT_RETURN_IF_ERROR(PlanTrainingImages("num_images", config_.num_images(), plan));
    const int64_t images = config_.num_images() > 0 ? config_.num_images() : train->size();
    if (config_.held_out_images() + config_.batch_size() <= images) return absl::OkStatus();
    return FieldError("held_out_images",
                      absl::StrCat("must leave a batch of ", config_.batch_size(), " of the ", images,
                                   " images to learn from, got ", config_.held_out_images()));
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_RETURN_IF_ERROR(MakeDirs(context.folder));
    LOWBIT_ASSIGN_OR_RETURN(DistillRequest request, Request(context, state));
    const bool measured = !request.hold_out.empty();
    const std::string tag = NameOfItsOwn("distill", *context.report);
    request.on_epoch = [&](const DistillEpoch& epoch) {
      if (measured || epoch.epoch > 0) LogLine(Describe(epoch, measured));
      return context.events == nullptr ? absl::OkStatus() : WriteEvents(tag, epoch, measured, context.events);
    };
    LOWBIT_ASSIGN_OR_RETURN(DistillResult result, Distill(request));
    if (result.epoch == 0) {
      LogLine("distill: the last epoch is no closer to the float network than the start, which stays");
    }
    auto& record = context.report->steps.back();
    record["images"] = request.learn.size();
    record["result_of_epoch"] = result.epoch;
    for (const DistillEpoch& epoch : result.history) {
      nlohmann::ordered_json entry = {
          {"epoch", epoch.epoch}, {"train_loss", epoch.train_loss}, {"seconds", epoch.seconds}};
      if (measured) {
        entry["held_out_kl"] = epoch.held_out_kl;
        entry["held_out_same"] = epoch.held_out_same;
      }
      record["epochs"].push_back(std::move(entry));
    }
    NoteSeen(request.learn, state);
    state.quantized = std::make_shared<QuantizedModel>(std::move(result.model));
    return absl::OkStatus();
  }

 private:
  static std::string Describe(const DistillEpoch& epoch, bool measured) {
    const std::string held_out = absl::StrFormat("held-out KL %.4f, %.2f %% answered as the float network does",
                                                 epoch.held_out_kl, 100 * epoch.held_out_same);
    if (epoch.epoch == 0) return absl::StrCat("distill: at the start ", held_out);
    return absl::StrFormat("distill epoch %d: loss %.4f, %s%s", epoch.epoch, epoch.train_loss,
                           measured ? absl::StrCat(held_out, ", ") : "", FormatDuration(epoch.seconds));
  }

  static absl::Status WriteEvents(const std::string& tag, const DistillEpoch& epoch, bool measured,
                                  EventWriter* events) {
    const auto add = [&](absl::string_view name, double value) {
      return events->AddScalar(absl::StrCat(tag, "/", name), epoch.epoch, value);
    };
    if (epoch.epoch > 0) LOWBIT_RETURN_IF_ERROR(add("loss", epoch.train_loss));
    if (!measured) return absl::OkStatus();
    LOWBIT_RETURN_IF_ERROR(add("held-out KL", epoch.held_out_kl));
    return add("held-out same top-1", epoch.held_out_same);
  }

  absl::StatusOr<DistillRequest> Request(const RunContext& context, const RunState& state) const {
    DistillRequest request;
    request.float_model = &state.model;
    request.start = state.quantized.get();
    LOWBIT_ASSIGN_OR_RETURN(request.dataset, context.data->Get(Split::kTrain));
    request.normalization = context.data->normalization();
    request.config = config_;
    request.seed = context.seed;
    request.directory = context.folder;
    request.name = NameOfItsOwn("distillation", *context.report);
    request.resume = context.resume && HasDistillCheckpoint(request.directory, request.name);
    const int64_t size = request.dataset->size();
    const int64_t held_out = config_.held_out_images();
    if (config_.num_images() > 0) {
      request.learn = DrawImages(size, config_.num_images(), context.seed, kCalibrationImages);
      request.hold_out.assign(request.learn.end() - held_out, request.learn.end());
      request.learn.resize(request.learn.size() - static_cast<size_t>(held_out));
      return request;
    }
    request.hold_out = DrawImages(size, held_out, context.seed, kHeldOutImages);
    std::sort(request.hold_out.begin(), request.hold_out.end());
    for (int64_t i = 0; i < size; ++i) {
      if (!std::binary_search(request.hold_out.begin(), request.hold_out.end(), i)) request.learn.push_back(i);
    }
    return request;
  }

  const DistillConfig config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeDistillStep(const DistillConfig& config) {
  LOWBIT_RETURN_IF_ERROR(CheckDistillConfig(config));
  return std::make_unique<DistillStepImpl>(config);
}

}  // namespace lowbit
