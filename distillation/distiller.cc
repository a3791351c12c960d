#include "distillation/distiller.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/explicit_defaults.h"
#include "base/field_error.h"
#include "base/fnv1a.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "data/loader.h"
#include "distillation/checkpoint.h"
#include "evaluation/answer_change.h"
#include "evaluation/batch_tensor.h"
#include "google/protobuf/text_format.h"
#include "learning/adam.h"
#include "learning/answer_divergence.h"
#include "learning/learned_network.h"
#include "learning/running_loss.h"
#include "model/executor.h"
#include "model/passes/blocks.h"
#include "model/torch_boundary.h"
#include "quant/twin_activations.h"
#include "train/augment_options.h"

namespace lowbit {
namespace {

constexpr int64_t kEvaluationBatch = 250;

// Where images are mixed, a few mixtures have most of the divergence, so that one of each held-out image says little:
// at least so many are measured.
constexpr size_t kMeasuredMixtures = 512;

std::string CheckpointPath(const std::string& directory, const std::string& name) {
  return absl::StrCat(directory, "/", name, ".safetensors");
}

// Of which images they are, and of their pixels.
absl::StatusOr<std::string> DigestImages(const Dataset& dataset, const std::vector<int64_t>& indices) {
  uint64_t digest = kFnv1aStart;
  std::string pixels(static_cast<size_t>(dataset.image_shape().size()), '\0');
  for (const int64_t index : indices) {
    int32_t label;
    LOWBIT_RETURN_IF_ERROR(dataset.Get(index, reinterpret_cast<uint8_t*>(pixels.data()), &label));
    digest = Fnv1a(Fnv1a(digest, static_cast<uint64_t>(index)), pixels);
  }
  return absl::StrCat(indices.size(), ", ", absl::Hex(digest, absl::kZeroPad16));
}

using Features = std::map<std::string, at::Tensor>;

// Copies of what layers of an inference put out: those that `kept` has names of.
class KeepOutputs : public LayerHook {
 public:
  KeepOutputs(const Graph& graph, Features* kept) : graph_(graph), kept_(*kept) {}

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    const auto found = kept_.find(graph_.layer(layer).name);
    if (found != kept_.end()) found->second = y.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    return y;
  }

 private:
  const Graph& graph_;
  Features& kept_;
};

// Sum of (got - wanted)^2 over that of wanted^2: a number that autograd can go back from.
at::Tensor RelativeError(const at::Tensor& got, const at::Tensor& wanted) {
  return got.sub(wanted).square().sum().div(wanted.square().sum().add(1e-12));
}

class Distiller {
 public:
  explicit Distiller(const DistillRequest& request)
      : request_(request),
        config_(request.config),
        steps_per_epoch_(static_cast<int64_t>(request.learn.size()) / config_.batch_size()) {}

  absl::StatusOr<DistillResult> Run();

 private:
  absl::Status Start();
  absl::Status Resume();
  absl::Status Epoch();
  absl::Status Learn(DistillEpoch& epoch);
  absl::StatusOr<double> Step(Batch& batch, int64_t step);
  absl::Status Measure(const QuantizedModel& model, DistillEpoch& epoch);
  absl::Status Keep(const DistillEpoch& epoch);
  absl::StatusOr<std::string> Fingerprint() const;
  // Rises as a line over the warm-up, and falls to 0 as a cosine until the end.
  double RateFactor(int64_t step) const;

  // What optimizers move, each kind with its own.
  struct Kind {
    const char* prefix;  // of its names in the checkpoint
    const ParameterMap& learned;
    Optimizer& optimizer;
  };
  std::vector<Kind> Kinds() {
    return {{"weight/", network_->roundings(), *weights_},
            {"weight_scale/", network_->weight_scales(), *weight_scales_},
            {"activation_scale/", network_->activation_scales(), *activation_scales_},
            {"bias/", network_->biases(), *biases_}};
  }

  const DistillRequest& request_;
  const DistillConfig& config_;
  const int64_t steps_per_epoch_;
  std::unique_ptr<LearnedNetwork> network_;
  std::optional<Executor> teacher_;  // the float network, as it is learned from
  std::vector<std::string> feature_layers_;
  std::vector<at::Tensor> measured_answers_;  // the float network's to what Measure shows it, a batch each
  std::optional<Optimizer> weights_, weight_scales_, activation_scales_, biases_;
  DistillCheckpoint state_;
};

double Distiller::RateFactor(int64_t step) const {
  const int64_t steps = config_.epochs() * steps_per_epoch_;
  const double rising = static_cast<double>(step + 1) / std::max(1.0, static_cast<double>(config_.warmup_steps()));
  return std::min(1.0, rising) * CosineFactor(step, steps);
}

absl::StatusOr<std::string> Distiller::Fingerprint() const {
  DistillConfig full = config_;
  SetDefaultsExplicitly(full);
  std::string text;
  google::protobuf::TextFormat::PrintToString(full, &text);
  LOWBIT_ASSIGN_OR_RETURN(const std::string start, SerializeQuantizedModel(*request_.start));
  LOWBIT_ASSIGN_OR_RETURN(const std::string learn, DigestImages(*request_.dataset, request_.learn));
  LOWBIT_ASSIGN_OR_RETURN(const std::string hold_out, DigestImages(*request_.dataset, request_.hold_out));
  return absl::StrCat(
      text, "seed: ", request_.seed, "\nthreads: ", at::get_num_threads(), "\nimages: ", request_.dataset->size(),
      "\nmean: ", absl::StrJoin(request_.normalization.mean, " "),
      "\nstd: ", absl::StrJoin(request_.normalization.std, " "), "\nimages to learn from: ", learn,
      "\nimages held out: ", hold_out,
      "\nfloat network: ", absl::Hex(DigestParameters(request_.float_model->parameters), absl::kZeroPad16),
      "\nquantized network: ", absl::Hex(Fnv1a(kFnv1aStart, start), absl::kZeroPad16));
}

absl::Status Distiller::Start() {
  LearnedNetworkOptions options;
  options.rounding = config_.weight_rate() > 0 ? LearnedRounding::kLatent : LearnedRounding::kAsChosen;
  options.weight_scales = options.activation_scales = config_.scale_rate() > 0;
  options.biases = config_.bias_rate() > 0;
  options.hold = config_.hold();
  options.bfloat16 = config_.bfloat16();
  LOWBIT_ASSIGN_OR_RETURN(network_, LearnedNetwork::Create(*request_.float_model, *request_.start, options));
  ExecutorOptions teaching;
  teaching.training = teaching.bfloat16 = config_.bfloat16();
  LOWBIT_ASSIGN_OR_RETURN(teacher_,
                          Executor::Create(request_.float_model->graph, request_.float_model->parameters, teaching));
  if (config_.feature_weight() > 0) {
    const Graph& graph = request_.float_model->graph;
    for (const Block& block : FindBlocks(graph)) {
      // The last one's output is the answer.
      if (block.last < graph.size() - 1) feature_layers_.push_back(graph.layer(block.last).name);
    }
  }
  weights_.emplace(PlainAdam(), network_->roundings());
  weight_scales_.emplace(PlainAdam(), network_->weight_scales());
  activation_scales_.emplace(PlainAdam(), network_->activation_scales());
  biases_.emplace(PlainAdam(), network_->biases());
  LOWBIT_ASSIGN_OR_RETURN(state_.fingerprint, Fingerprint());
  if (request_.resume) return Resume();
  DistillEpoch start;
  LOWBIT_RETURN_IF_ERROR(Measure(*request_.start, start));
  state_.history = {start};
  return request_.on_epoch == nullptr ? absl::OkStatus() : request_.on_epoch(start);
}

absl::Status Distiller::Resume() {
  const std::string path = CheckpointPath(request_.directory, request_.name);
  LOWBIT_ASSIGN_OR_RETURN(state_, LoadDistillCheckpoint(path, state_.fingerprint));
  const c10::AutoGradMode no_gradients(false);
  for (const Kind& kind : Kinds()) {
    for (const auto& [name, tensor] : kind.learned) {
      const auto found = state_.learned.find(absl::StrCat(kind.prefix, name));
      if (found == state_.learned.end() || found->second.sizes() != tensor.sizes()) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": \"", kind.prefix, name, "\" is missing or has another shape"));
      }
      at::Tensor(tensor).copy_(found->second);
    }
    ParameterMap slots;
    for (const auto& [name, tensor] : state_.optimizer) {
      absl::string_view rest = name;
      if (absl::ConsumePrefix(&rest, kind.prefix)) slots[std::string(rest)] = tensor;
    }
    const absl::Status restored = kind.optimizer.Restore(slots, state_.optimizer_steps);
    if (!restored.ok()) return absl::Status(restored.code(), absl::StrCat(path, ": ", restored.message()));
  }
  LogLine(absl::StrCat("resuming ", path, " after epoch ", state_.history.size() - 1, " of ", config_.epochs()));
  return absl::OkStatus();
}

// KL divergence of the softmax of logits / T, mean over the images, times T^2, so that gradients keep their size; and
// the blocks' errors.
absl::StatusOr<double> Distiller::Step(Batch& batch, int64_t step) {
  const at::Tensor images = ImagesTensor(batch);
  Features wanted_features, features;
  for (const std::string& layer : feature_layers_) wanted_features[layer] = features[layer] = at::Tensor();
  KeepOutputs keep(request_.float_model->graph, &wanted_features);
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor wanted, teacher_->Forward(images, features.empty() ? nullptr : &keep));
  network_->Write();
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor logits, network_->Forward(images, {}, &features));
  const double t = config_.temperature();
  at::Tensor loss = AnswerDivergence(logits, wanted, t).mul(t * t);
  for (const auto& [layer, got] : features) {
    const double weight = config_.feature_weight() / static_cast<double>(features.size());
    loss = loss.add(RelativeError(got, wanted_features.at(layer)).mul(weight));
  }
  const double value = loss.item<double>();
  if (!std::isfinite(value)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the loss became %g at step %d; lower rates may help", value, step));
  }
  loss.backward();
  network_->Back();
  const double factor = RateFactor(step);
  weights_->Step(factor * config_.weight_rate());
  weight_scales_->Step(factor * config_.scale_rate());
  activation_scales_->Step(factor * config_.scale_rate());
  biases_->Step(factor * config_.bias_rate());
  network_->KeepScales();
  return value;
}

absl::Status Distiller::Learn(DistillEpoch& epoch) {
  LoaderOptions options;
  const std::vector<int64_t> order =
      ShuffledOrder(static_cast<int64_t>(request_.learn.size()), request_.seed, static_cast<uint64_t>(epoch.epoch));
  const int64_t used = steps_per_epoch_ * config_.batch_size();
  for (int64_t i = 0; i < used; ++i) {
    options.order.push_back(request_.learn[static_cast<size_t>(order[static_cast<size_t>(i)])]);
  }
  options.batch_size = config_.batch_size();
  options.normalization = request_.normalization;
  options.augment = ToAugmentOptions(config_.augment());
  options.mixup = config_.mixup();
  options.seed = request_.seed;
  options.epoch = static_cast<uint64_t>(epoch.epoch);
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(request_.dataset, std::move(options)));
  Progress progress(absl::StrCat("distill epoch ", epoch.epoch, "/", config_.epochs()), used);
  RunningLoss running;
  for (int64_t i = 0; i < steps_per_epoch_; ++i) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
    LOWBIT_ASSIGN_OR_RETURN(const double loss, Step(*batch, (epoch.epoch - 1) * steps_per_epoch_ + i));
    epoch.train_loss += loss / static_cast<double>(steps_per_epoch_);
    progress.Advance(batch->size());
    progress.SetNote(absl::StrFormat("loss %.4f", running.Add(loss)));
  }
  return absl::OkStatus();
}

absl::Status Distiller::Measure(const QuantizedModel& model, DistillEpoch& epoch) {
  if (request_.hold_out.empty()) return absl::OkStatus();
  LoaderOptions options;
  const size_t wanted = config_.mixup() > 0 ? kMeasuredMixtures : 1;
  while (options.order.size() < wanted) {
    options.order.insert(options.order.end(), request_.hold_out.begin(), request_.hold_out.end());
  }
  options.batch_size = kEvaluationBatch;
  options.normalization = request_.normalization;
  options.mixup = config_.mixup();
  options.seed = request_.seed;
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(request_.dataset, std::move(options)));
  LOWBIT_ASSIGN_OR_RETURN(QuantizedSegment network, QuantizedSegment::Create(model, model.graph));
  std::optional<Executor> float_network;  // for the first time, as later its answers are there
  if (measured_answers_.empty()) {
    LOWBIT_ASSIGN_OR_RETURN(float_network,
                            Executor::Create(request_.float_model->graph, request_.float_model->parameters));
  }
  AnswerChange change;
  const double t = config_.temperature();
  for (size_t i = 0;; ++i) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
    if (!batch.has_value()) break;
    const at::Tensor images = ImagesTensor(*batch);
    if (float_network.has_value()) {
      LOWBIT_ASSIGN_OR_RETURN(at::Tensor answers, float_network->Forward(images));
      measured_answers_.push_back(std::move(answers));
    }
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor logits, network.executor.Forward(images, &network.hook));
    LOWBIT_RETURN_IF_ERROR(change.Add(measured_answers_[i].div(t), logits.div(t)));
  }
  epoch.held_out_kl = change.kl() * t * t;
  epoch.held_out_same = change.same_top1();
  return absl::OkStatus();
}

absl::Status Distiller::Keep(const DistillEpoch& epoch) {
  state_.history.push_back(epoch);
  state_.learned.clear();
  state_.optimizer.clear();
  for (const Kind& kind : Kinds()) {
    for (const auto& [name, tensor] : kind.learned) state_.learned[absl::StrCat(kind.prefix, name)] = tensor;
    for (const auto& [name, tensor] : kind.optimizer.slots()) {
      state_.optimizer[absl::StrCat(kind.prefix, name)] = tensor;
    }
  }
  state_.optimizer_steps = weights_->steps();
  return SaveDistillCheckpoint(CheckpointPath(request_.directory, request_.name), state_);
}

absl::Status Distiller::Epoch() {
  DistillEpoch epoch;
  epoch.epoch = static_cast<int>(state_.history.size());
  const auto start = std::chrono::steady_clock::now();
  LOWBIT_RETURN_IF_ERROR(Learn(epoch));
  LOWBIT_ASSIGN_OR_RETURN(const QuantizedModel model, network_->Harden());
  LOWBIT_RETURN_IF_ERROR(Measure(model, epoch));
  epoch.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  LOWBIT_RETURN_IF_ERROR(Keep(epoch));
  return request_.on_epoch == nullptr ? absl::OkStatus() : request_.on_epoch(epoch);
}

absl::StatusOr<DistillResult> Distiller::Run() {
  LOWBIT_RETURN_IF_ERROR(Start());
  while (static_cast<int>(state_.history.size()) <= config_.epochs()) LOWBIT_RETURN_IF_ERROR(Epoch());
  // Rates have fallen to 0 by the last epoch. One before it that measured better did so by chance, if anything: a few
  // images held out say little.
  const DistillEpoch& last = state_.history.back();
  if (!request_.hold_out.empty() && last.held_out_kl >= state_.history.front().held_out_kl) {
    return DistillResult{*request_.start, 0, state_.history};
  }
  LOWBIT_ASSIGN_OR_RETURN(QuantizedModel model, network_->Harden());
  return DistillResult{std::move(model), last.epoch, state_.history};
}

}  // namespace

bool HasDistillCheckpoint(const std::string& directory, const std::string& name) {
  std::error_code error;
  return std::filesystem::exists(CheckpointPath(directory, name), error);
}

void SpellOutDistillDefaults(DistillConfig* config) {
  config->mutable_augment();
  if (config->has_held_out_images()) return;
  config->set_held_out_images(config->num_images() > 0 ? std::max(1, config->num_images() / 8) : 1000);
}

absl::Status CheckDistillConfig(const DistillConfig& config) {
  constexpr double kMost = 1e9;
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("epochs", config.epochs(), 1, kMost, "at least 1"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("num_images", config.num_images(), 0, kMost, "at least 0"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("batch_size", config.batch_size(), 1, kMost, "at least 1"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("weight_rate", config.weight_rate(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("scale_rate", config.scale_rate(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("bias_rate", config.bias_rate(), 0, 1, "in [0, 1]"));
  if (config.weight_rate() == 0 && config.scale_rate() == 0 && config.bias_rate() == 0) {
    return FieldError("weight_rate", "is 0 as scale_rate and bias_rate are, so there is nothing to learn");
  }
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("hold", config.hold(), 0, 1, "in [0, 1]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("warmup_steps", config.warmup_steps(), 0, kMost, "at least 0"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("mixup", config.mixup(), 0, 1, "in [0, 1]"));
  if (config.bfloat16()) LOWBIT_RETURN_IF_ERROR(CheckBFloat16(at::kCPU));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("feature_weight", config.feature_weight(), 0, 1e6, "in [0, 1e6]"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("temperature", config.temperature(), 1e-3, 1e3, "in [0.001, 1000]"));
  return CheckFieldRange("held_out_images", config.held_out_images(), 0, kMost, "at least 0");
}

absl::StatusOr<DistillResult> Distill(const DistillRequest& request) {
  return CatchTorch([&] { return Distiller(request).Run(); });
}

}  // namespace lowbit
