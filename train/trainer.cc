#include "train/trainer.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cross_entropy_loss.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "evaluation/batch_tensor.h"
#include "evaluation/evaluator.h"
#include "model/executor.h"
#include "model/torch_boundary.h"
#include "train/augment_options.h"
#include "train/device.h"
#include "train/ema.h"
#include "train/optimizer.h"
#include "train/resume.h"
#include "train/schedule.h"

namespace lowbit {
namespace {

// Keeps the choice of the held-out images apart from the seed's other random choices.
constexpr uint64_t kHoldOutStream = 0x686f6c64;

constexpr int64_t kValidationBatch = 250;

absl::Status InRange(const char* field, double value, double low, double high, const char* wanted) {
  if (value >= low && value < high) return absl::OkStatus();
  return FieldError(field, absl::StrFormat("must be %s, got %g", wanted, value));
}

absl::Status CheckOptimizer(const TrainConfig& config) {
  if (config.has_sgd()) return InRange("sgd.momentum", config.sgd().momentum(), 0, 1, "in [0, 1)");
  if (!config.has_adam()) return absl::OkStatus();
  LOWBIT_RETURN_IF_ERROR(InRange("adam.beta1", config.adam().beta1(), 0, 1, "in [0, 1)"));
  LOWBIT_RETURN_IF_ERROR(InRange("adam.beta2", config.adam().beta2(), 0, 1, "in [0, 1)"));
  if (!(config.adam().epsilon() > 0))
    return FieldError("adam.epsilon", absl::StrCat("must be above 0, got ", config.adam().epsilon()));
  return absl::OkStatus();
}

absl::Status CheckSchedule(const TrainConfig& config) {
  if (config.has_cosine()) {
    LOWBIT_RETURN_IF_ERROR(InRange("cosine.warmup_epochs", config.cosine().warmup_epochs(), 0, config.epochs(),
                                   "at least 0 and below epochs"));
    return InRange("cosine.final_factor", config.cosine().final_factor(), 0, 1, "in [0, 1)");
  }
  if (!config.has_one_cycle()) return absl::OkStatus();
  const OneCycleSchedule& cycle = config.one_cycle();
  if (!(cycle.warmup_fraction() > 0 && cycle.warmup_fraction() < 1)) {
    return FieldError("one_cycle.warmup_fraction", absl::StrCat("must be in (0, 1), got ", cycle.warmup_fraction()));
  }
  LOWBIT_RETURN_IF_ERROR(InRange("one_cycle.initial_divisor", cycle.initial_divisor(), 1, HUGE_VAL, "at least 1"));
  return InRange("one_cycle.final_divisor", cycle.final_divisor(), 1, HUGE_VAL, "at least 1");
}

// The images that a seed keeps for validation and those that it leaves to learn from, both ascending.
struct Split {
  std::vector<int64_t> learn, hold_out;
};

Split SplitImages(int64_t size, int64_t held_out, uint64_t seed) {
  std::vector<int64_t> order = Rng({seed, kHoldOutStream}).Permutation(size);
  Split split;
  split.hold_out.assign(order.begin(), order.begin() + held_out);
  split.learn.assign(order.begin() + held_out, order.end());
  std::sort(split.hold_out.begin(), split.hold_out.end());
  std::sort(split.learn.begin(), split.learn.end());
  return split;
}

class Trainer {
 public:
  explicit Trainer(const TrainRequest& request)
      : request_(request),
        config_(request.config),
        split_(SplitImages(request.dataset->size(), config_.validation_images(), request.seed)),
        steps_per_epoch_(static_cast<int64_t>(split_.learn.size()) / config_.batch_size()) {}

  // Puts everything in its place for the next epoch; when resuming, refuses what cannot be gone on from. Writes
  // nothing.
  absl::Status Start();

  absl::StatusOr<TrainResult> Run() {
    LOWBIT_RETURN_IF_ERROR(Start());
    if (request_.resume) {
      LogLine(absl::StrCat("resuming ", CheckpointPath(request_.directory), " after epoch ", state_.history.size(),
                           " of ", config_.epochs()));
      LOWBIT_RETURN_IF_ERROR(RemoveStaleTemporaries(request_.directory));
    }
    while (static_cast<int>(state_.history.size()) < config_.epochs()) LOWBIT_RETURN_IF_ERROR(Epoch());
    TrainResult result;
    result.best_epoch = state_.best_epoch;
    result.history = state_.history;
    LOWBIT_ASSIGN_OR_RETURN(result.parameters, LoadParameters(BestPath(request_.directory), *request_.graph));
    return result;
  }

 private:
  bool averaging() const { return config_.ema_decay() > 0; }
  // What is validated and saved.
  const ParameterMap& result_parameters() const { return averaging() ? state_.average : state_.parameters; }

  absl::Status Epoch();
  absl::Status Learn(int epoch, EpochRecord& record);
  absl::Status Step(Batch& batch, int64_t step, EpochRecord& record, int64_t& hits);
  absl::Status Validate(EpochRecord& record) const;
  absl::Status Keep(const EpochRecord& record);

  const TrainRequest& request_;
  const TrainConfig& config_;
  const Split split_;
  const int64_t steps_per_epoch_;
  at::Device device_ = at::kCPU;
  Checkpoint state_;
  std::optional<Executor> executor_;
  std::optional<Optimizer> optimizer_;
};

absl::Status Trainer::Start() {
  LOWBIT_ASSIGN_OR_RETURN(device_, ParseDevice(config_.device()));
  // Some of cuDNN's kernels add up in whatever order their threads arrive.
  if (device_.is_cuda()) at::globalContext().setDeterministicCuDNN(true);
  state_.fingerprint = Fingerprint(request_);
  state_.seed = request_.seed;
  state_.parameters = request_.initial;
  if (averaging()) state_.average = request_.initial;
  if (request_.resume) {
    LOWBIT_ASSIGN_OR_RETURN(state_, LoadOwnCheckpoint(request_));
  }
  // From here on all of the state is on the device, the optimizer's slots beside their parameters; files are written
  // from copies.
  state_.parameters = CloneParameters(state_.parameters, device_);
  state_.average = CloneParameters(state_.average, device_);
  ParameterMap learned;
  for (auto& [name, tensor] : state_.parameters) {
    if (IsRunningStatistic(name)) continue;
    learned.emplace(name, tensor.set_requires_grad(true));
  }
  optimizer_.emplace(config_, std::move(learned));
  if (request_.resume) {
    absl::Status restored = optimizer_->Restore(state_.optimizer, state_.optimizer_steps);
    if (!restored.ok())
      return absl::InvalidArgumentError(
          absl::StrCat(CheckpointPath(request_.directory), ": ", std::string(restored.message())));
  }
  state_.optimizer = optimizer_->slots();
  ExecutorOptions options;
  options.training = true;
  options.bfloat16 = config_.bfloat16();
  LOWBIT_ASSIGN_OR_RETURN(executor_, Executor::Create(*request_.graph, state_.parameters, options));
  return absl::OkStatus();
}

absl::Status Trainer::Epoch() {
  EpochRecord record;
  record.epoch = static_cast<int>(state_.history.size()) + 1;
  const auto start = std::chrono::steady_clock::now();
  LOWBIT_RETURN_IF_ERROR(Learn(record.epoch, record));
  LOWBIT_RETURN_IF_ERROR(Validate(record));
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  // Said only when it cannot be lost any more.
  LOWBIT_RETURN_IF_ERROR(Keep(record));
  const int left = config_.epochs() - record.epoch;
  const std::string to_go = left == 0 ? "" : absl::StrCat(", ", FormatDuration(left * record.seconds), " to go");
  LogLine(
      absl::StrFormat("epoch %d/%d  loss %.4f  train top-1 %.2f %%  held-out top-1 %.2f %%  top-3 %.2f %%  precision "
                      "%.2f  recall %.2f  F1 %.2f  %s%s",
                      record.epoch, config_.epochs(), record.train_loss, 100 * record.train_top1,
                      100 * record.validation_top1, 100 * record.validation_top3, 100 * record.precision,
                      100 * record.recall, 100 * record.f1, FormatDuration(record.seconds), to_go));
  return request_.on_epoch == nullptr ? absl::OkStatus() : request_.on_epoch(record, result_parameters());
}

absl::Status Trainer::Learn(int epoch, EpochRecord& record) {
  LoaderOptions options;
  const std::vector<int64_t> order =
      ShuffledOrder(static_cast<int64_t>(split_.learn.size()), request_.seed, static_cast<uint64_t>(epoch));
  const int64_t used = steps_per_epoch_ * config_.batch_size();
  for (int64_t i = 0; i < used; ++i)
    options.order.push_back(split_.learn[static_cast<size_t>(order[static_cast<size_t>(i)])]);
  options.batch_size = config_.batch_size();
  options.normalization = request_.normalization;
  options.augment = ToAugmentOptions(config_.augment());
  options.seed = request_.seed;
  options.epoch = static_cast<uint64_t>(epoch);
  if (!device_.is_cpu()) {            // The cores have nothing else to do.
    constexpr int kMostThreads = 16;  // make more images than a GPU takes
    options.threads = std::min(kMostThreads, at::get_num_threads());
    options.prefetch = 2 * options.threads;
  }
  LOWBIT_ASSIGN_OR_RETURN(std::unique_ptr<Loader> loader, Loader::Create(request_.dataset, std::move(options)));

  Progress progress(absl::StrCat("epoch ", epoch, "/", config_.epochs()), used);
  int64_t hits = 0, seen = 0;
  for (int64_t i = 0; i < steps_per_epoch_; ++i) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
    const int64_t step = static_cast<int64_t>(epoch - 1) * steps_per_epoch_ + i;
    LOWBIT_RETURN_IF_ERROR(CatchTorch([&] { return Step(*batch, step, record, hits); }));
    seen += batch->size();
    progress.Advance(batch->size());
    progress.SetNote(absl::StrFormat("loss %.3f  top-1 %.1f %%", record.train_loss / static_cast<double>(i + 1),
                                     100.0 * static_cast<double>(hits) / static_cast<double>(seen)));
  }
  record.train_loss /= static_cast<double>(steps_per_epoch_);
  record.train_top1 = static_cast<double>(hits) / static_cast<double>(seen);
  return absl::OkStatus();
}

absl::Status Trainer::Step(Batch& batch, int64_t step, EpochRecord& record, int64_t& hits) {
  const at::Tensor labels = LabelsTensor(batch).to(device_);
  LOWBIT_ASSIGN_OR_RETURN(at::Tensor logits,
                          executor_->Forward(ImagesTensor(batch).to(device_, /*non_blocking=*/true)));
  const at::Tensor loss = at::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::Mean,
                                                 /*ignore_index=*/-100, config_.label_smoothing());
  // Both here, where the device is waited for anyway: the rest of the step then runs on a GPU while the next is
  // prepared.
  const double value = loss.item<double>();
  hits += logits.detach().argmax(1).eq(labels).sum().item<int64_t>();
  record.learning_rate = LearningRate(config_, step, steps_per_epoch_);
  if (!std::isfinite(value)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("training diverged: the loss is %g at epoch %d, step %d, learning rate %g; try a lower "
                        "learning_rate or a warm-up",
                        value, record.epoch, step % steps_per_epoch_, record.learning_rate));
  }
  loss.backward();
  optimizer_->Step(record.learning_rate);
  if (averaging()) UpdateAverage(state_.parameters, config_.ema_decay(), step, state_.average);
  record.train_loss += value;
  return absl::OkStatus();
}

absl::Status Trainer::Validate(EpochRecord& record) const {
  LoaderOptions options;
  options.order = split_.hold_out;
  options.batch_size = kValidationBatch;
  options.normalization = request_.normalization;
  LOWBIT_ASSIGN_OR_RETURN(std::unique_ptr<Loader> loader, Loader::Create(request_.dataset, std::move(options)));
  LOWBIT_ASSIGN_OR_RETURN(Executor executor, Executor::Create(*request_.graph, result_parameters()));
  const auto forward = [&](const at::Tensor& images) -> absl::StatusOr<at::Tensor> {
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor logits, executor.Forward(images.to(device_)));
    return logits.cpu();
  };
  LOWBIT_ASSIGN_OR_RETURN(const EvaluationResult result,
                          Evaluate(forward, *loader, {"validate", /*show_progress=*/false}));
  record.validation_top1 = result.metrics.top1;
  record.validation_top3 = result.metrics.topk;
  record.precision = result.metrics.macro.precision;
  record.recall = result.metrics.macro.recall;
  record.f1 = result.metrics.macro.f1;
  return absl::OkStatus();
}

// best.safetensors is written before the checkpoint that counts it: killed between the two, the epoch is run again and
// writes the same.
absl::Status Trainer::Keep(const EpochRecord& record) {
  if (record.validation_top1 > state_.best_score) {
    state_.best_score = record.validation_top1;
    state_.best_epoch = record.epoch;
    LOWBIT_RETURN_IF_ERROR(SaveParameters(BestPath(request_.directory), result_parameters()));
  }
  state_.history.push_back(record);
  state_.optimizer_steps = optimizer_->steps();
  LOWBIT_RETURN_IF_ERROR(SaveCheckpoint(CheckpointPath(request_.directory), state_));
  return WriteFileAtomic(absl::StrCat(request_.directory, "/history.tsv"), HistoryTable(state_.history));
}

}  // namespace

absl::Status CheckTrainConfig(const TrainConfig& config, const Dataset& dataset) {
  if (config.epochs() < 1) return FieldError("epochs", absl::StrCat("must be at least 1, got ", config.epochs()));
  if (config.batch_size() < 2)
    return FieldError("batch_size", absl::StrCat("must be at least 2, got ", config.batch_size()));
  if (!(config.learning_rate() > 0 && std::isfinite(config.learning_rate()))) {
    return FieldError("learning_rate", absl::StrCat("must be above 0, got ", config.learning_rate()));
  }
  LOWBIT_RETURN_IF_ERROR(InRange("weight_decay", config.weight_decay(), 0, HUGE_VAL, "at least 0"));
  LOWBIT_RETURN_IF_ERROR(InRange("label_smoothing", config.label_smoothing(), 0, 1, "in [0, 1)"));
  LOWBIT_RETURN_IF_ERROR(InRange("ema_decay", config.ema_decay(), 0, 1, "in [0, 1)"));
  const int64_t left = dataset.size() - config.validation_images();
  if (config.validation_images() < 1 || left < config.batch_size()) {
    return FieldError("validation_images",
                      absl::StrCat("must be at least 1 and leave a batch of ", config.batch_size(), " out of the ",
                                   dataset.size(), " training images, got ", config.validation_images()));
  }
  LOWBIT_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config.device()));
  if (config.bfloat16()) LOWBIT_RETURN_IF_ERROR(CheckBFloat16(device));
  LOWBIT_RETURN_IF_ERROR(CheckOptimizer(config));
  LOWBIT_RETURN_IF_ERROR(CheckSchedule(config));
  return PrependField(ValidateAugment(ToAugmentOptions(config.augment()), dataset.image_shape()), "augment");
}

absl::Status CheckResume(const TrainRequest& request) {
  TrainRequest resumed = request;
  resumed.resume = true;
  return CatchTorch([&] { return Trainer(resumed).Start(); });
}

absl::StatusOr<TrainResult> Train(const TrainRequest& request) {
  LOWBIT_RETURN_IF_ERROR(CheckTrainConfig(request.config, *request.dataset));
  LOWBIT_RETURN_IF_ERROR(CheckParameters(*request.graph, request.initial));
  LOWBIT_RETURN_IF_ERROR(MakeDirs(request.directory));
  return CatchTorch([&] { return Trainer(request).Run(); });
}

}  // namespace lowbit
