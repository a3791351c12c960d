#include "reconstruction/block_reconstruction.h"

#include <ATen/ops/ones.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "learning/adam.h"
#include "learning/answer_divergence.h"
#include "learning/learned_fake_quantize.h"
#include "learning/learned_network.h"
#include "learning/running_loss.h"
#include "model/executor.h"
#include "model/torch_boundary.h"
#include "quant/twin_activations.h"

namespace lowbit {
namespace {

// Streams of the block's seed.
constexpr uint64_t kOrderStream = 1;
constexpr uint64_t kMixStream = 2;

// Images that are run at once where nothing is learned.
constexpr int64_t kEvaluationBatch = 256;

LearnedNetworkOptions NetworkOptions(const ReconstructConfig& config) {
  LearnedNetworkOptions options;
  switch (config.rounding()) {
    case ReconstructConfig::UP_OR_DOWN:
      options.rounding = LearnedRounding::kUpOrDown;
      break;
    case ReconstructConfig::DIVIDED:
      options.rounding = LearnedRounding::kDivided;
      break;
    case ReconstructConfig::LATENT:
      options.rounding = LearnedRounding::kLatent;
      break;
    case ReconstructConfig::AS_CHOSEN:
      options.rounding = LearnedRounding::kAsChosen;
      break;
  }
  if (config.rounding_rate() == 0) options.rounding = LearnedRounding::kAsChosen;
  options.hold = config.hold();
  options.weight_scales = config.weight_scale_rate() > 0;
  options.activation_scales = config.activation_scale_rate() > 0;
  options.biases = config.bias_rate() > 0;
  options.bfloat16 = config.bfloat16();
  return options;
}

at::Tensor GatherRows(const at::Tensor& x, const std::vector<int64_t>& rows) { return MixRows(x, x, rows, {}); }

// Batches of images without end: each goes through all of them in another random order.
class Batches {
 public:
  Batches(int64_t images, int64_t batch_size, uint64_t seed)
      : images_(images), batch_size_(std::min(batch_size, images)), rng_({seed, kOrderStream}) {}

  std::vector<int64_t> Next() {
    if (next_ + batch_size_ > static_cast<int64_t>(order_.size())) {
      order_ = rng_.Permutation(images_);
      next_ = 0;
    }
    const auto begin = order_.begin() + next_;
    next_ += batch_size_;
    return {begin, begin + batch_size_};
  }

 private:
  const int64_t images_, batch_size_;
  Rng rng_;
  std::vector<int64_t> order_;
  int64_t next_ = 0;
};

class Learner {
 public:
  Learner(const BlockTask& task, const ReconstructConfig& config) : task_(task), config_(config) {}

  absl::Status Start();
  // One phase after the other. Returns how it diverged, or "".
  absl::StatusOr<std::string> Learn(const std::function<absl::Status(const BlockProgress&)>& on_step,
                                    std::vector<double>* losses);

  const LearnedNetwork& network() const { return *network_; }
  // That were taken.
  int64_t steps() const { return total_step_; }

 private:
  // What is learned at one time, and with how much of the activations in float.
  struct Phase {
    bool weights;
    bool activation_scales;
    double float_part;
    int64_t steps;
  };

  // Those in which there is something to learn, of a network that learns at all.
  std::vector<Phase> Phases() const;
  absl::Status Step(const Phase& phase, int64_t step, double& loss);
  absl::StatusOr<double> LossAndGradients(const Phase& phase, const std::vector<int64_t>& rows);
  absl::StatusOr<at::Tensor> PredictionLoss(const std::vector<int64_t>& rows);
  void Regularize(int64_t step);

  const BlockTask& task_;
  const ReconstructConfig& config_;
  std::unique_ptr<LearnedNetwork> network_;
  std::optional<Executor> rest_;
  std::optional<Optimizer> roundings_, weight_scales_, activation_scales_, biases_;
  std::optional<Batches> batches_;
  int64_t total_step_ = 0;
};

absl::Status Learner::Start() {
  LOWBIT_ASSIGN_OR_RETURN(network_, LearnedNetwork::Create(task_.float_part, task_.start, NetworkOptions(config_)));
  const TrainConfig adam = PlainAdam();
  roundings_.emplace(adam, network_->roundings());
  weight_scales_.emplace(adam, network_->weight_scales());
  activation_scales_.emplace(adam, network_->activation_scales());
  biases_.emplace(adam, network_->biases());
  if (config_.prediction_difference() > 0 && task_.rest.has_value()) {
    ExecutorOptions recording;
    recording.training = true;
    LOWBIT_ASSIGN_OR_RETURN(rest_, Executor::Create(task_.rest->graph, task_.rest->parameters, recording));
  }
  batches_.emplace(task_.target.size(0), config_.batch_size(), task_.seed);
  return absl::OkStatus();
}

// Of the block with everything quantized, the rest of the network being float: how far its answers are from those of
// the float network.
absl::StatusOr<at::Tensor> Learner::PredictionLoss(const std::vector<int64_t>& rows) {
  LOWBIT_ASSIGN_OR_RETURN(at::Tensor logits, network_->Forward(GatherRows(task_.quantized_in, rows), {}));
  if (rest_.has_value()) {
    LOWBIT_ASSIGN_OR_RETURN(logits, rest_->Forward(logits));
  }
  return AnswerDivergence(logits, GatherRows(task_.logits, rows), config_.temperature())
      .mul(config_.prediction_difference());
}

absl::StatusOr<double> Learner::LossAndGradients(const Phase& phase, const std::vector<int64_t>& rows) {
  const uint64_t seed = MixKeys({task_.seed, kMixStream, static_cast<uint64_t>(total_step_)});
  const at::Tensor x =
      MixRows(task_.float_in, task_.quantized_in, rows, {config_.float_inputs(), static_cast<uint32_t>(seed)});
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor y, network_->Forward(x, {phase.float_part, seed}));
  at::Tensor gradient;
  const double loss = SquaredError(y.detach(), task_.target, rows, &gradient);
  // (What has nothing to learn, in this phase, has no way back.)
  if (config_.prediction_difference() == 0) {
    if (y.requires_grad()) torch::autograd::backward({y}, {gradient});
    return loss;
  }
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor prediction, PredictionLoss(rows));
  if (y.requires_grad()) torch::autograd::backward({y, prediction}, {gradient, at::ones({}, at::kFloat)});
  return loss + prediction.item<double>();
}

// The exponent falls as a line once the warm-up is over.
void Learner::Regularize(int64_t step) {
  const double steps = static_cast<double>(config_.iterations());
  const double done = static_cast<double>(step) / steps;
  if (config_.regularization() == 0 || done < config_.warmup()) return;
  const double part = (done - config_.warmup()) / (1 - config_.warmup());
  const double sharpness = config_.start_sharpness() + part * (config_.end_sharpness() - config_.start_sharpness());
  network_->Regularize(config_.regularization(), sharpness);
}

absl::Status Learner::Step(const Phase& phase, int64_t step, double& loss) {
  network_->Write();
  LOWBIT_ASSIGN_OR_RETURN(loss, LossAndGradients(phase, batches_->Next()));
  if (!std::isfinite(loss)) return absl::OkStatus();
  network_->Back();
  const double falling = CosineFactor(step, phase.steps);
  if (phase.weights) {
    Regularize(step);
    roundings_->Step(config_.rounding_rate());
    weight_scales_->Step(falling * config_.weight_scale_rate());
    biases_->Step(falling * config_.bias_rate());
  }
  if (phase.activation_scales) activation_scales_->Step(falling * config_.activation_scale_rate());
  network_->KeepScales();
  return absl::OkStatus();
}

std::vector<Learner::Phase> Learner::Phases() const {
  if (config_.activation_iterations() == 0) return {{true, true, config_.float_activations(), config_.iterations()}};
  std::vector<Phase> phases;
  if (!network_->roundings().empty() || !network_->weight_scales().empty() || !network_->biases().empty()) {
    phases.push_back({true, false, 1, config_.iterations()});
  }
  if (!network_->activation_scales().empty()) phases.push_back({false, true, 0, config_.activation_iterations()});
  return phases;
}

absl::StatusOr<std::string> Learner::Learn(const std::function<absl::Status(const BlockProgress&)>& on_step,
                                           std::vector<double>* losses) {
  const std::vector<Phase> phases = Phases();
  int64_t steps = 0;
  for (const Phase& phase : phases) steps += phase.steps;
  const int64_t points = std::min(kCurvePoints, steps);
  std::vector<int64_t> counts(static_cast<size_t>(points), 0);
  RunningLoss running;
  for (const Phase& phase : phases) {
    if (!phase.weights) {
      network_->FreezeWeights();
      // PredictionLoss made gradients for the activations' scales before, too, which are not to begin with.
      for (const auto& [layer, factor] : network_->activation_scales()) factor.mutable_grad().reset();
    }
    for (int64_t step = 0; step < phase.steps; ++step, ++total_step_) {
      double loss = 0;
      LOWBIT_RETURN_IF_ERROR(Step(phase, step, loss));
      if (!std::isfinite(loss)) return absl::StrFormat("the loss became %g at step %d", loss, total_step_);
      const size_t point = static_cast<size_t>(total_step_ * points / steps);
      losses->resize(point + 1);
      (*losses)[point] += (loss - (*losses)[point]) / static_cast<double>(++counts[point]);
      LOWBIT_RETURN_IF_ERROR(on_step({total_step_ + 1, running.Add(loss)}));
    }
  }
  return std::string();
}

// The loss with everything quantized, over all images.
absl::StatusOr<double> Evaluate(const BlockTask& task, const ReconstructConfig& config, const QuantizedModel& model) {
  LOWBIT_ASSIGN_OR_RETURN(QuantizedSegment part, QuantizedSegment::Create(model, model.graph));
  std::optional<Executor> rest;
  if (config.prediction_difference() > 0 && task.rest.has_value()) {
    LOWBIT_ASSIGN_OR_RETURN(rest, Executor::Create(task.rest->graph, task.rest->parameters));
  }
  const int64_t images = task.target.size(0);
  double sum = 0;
  for (int64_t first = 0; first < images; first += kEvaluationBatch) {
    const int64_t count = std::min(kEvaluationBatch, images - first);
    std::vector<int64_t> rows(static_cast<size_t>(count));
    std::iota(rows.begin(), rows.end(), first);
    LOWBIT_ASSIGN_OR_RETURN(at::Tensor y, part.executor.Forward(task.quantized_in.narrow(0, first, count), &part.hook));
    at::Tensor gradient;
    double loss = SquaredError(y, task.target, rows, &gradient);
    if (config.prediction_difference() > 0) {
      if (rest.has_value()) {
        LOWBIT_ASSIGN_OR_RETURN(y, rest->Forward(y));
      }
      loss += config.prediction_difference() *
              AnswerDivergence(y, task.logits.narrow(0, first, count), config.temperature()).item<double>();
    }
    sum += loss * static_cast<double>(count);
  }
  return sum / static_cast<double>(images);
}

// Takes what was learned over, if it is better than the start.
absl::Status Finish(const BlockTask& task, const ReconstructConfig& config, const LearnedNetwork& network,
                    BlockResult* result) {
  BlockReport& report = result->report;
  absl::StatusOr<QuantizedModel> model = network.Harden();
  const absl::StatusOr<double> error =
      model.ok() ? Evaluate(task, config, *model) : absl::StatusOr<double>(model.status());
  // The last step can have made a scale that is no number.
  if (absl::IsInvalidArgument(error.status())) {
    report.fallback = absl::StrCat("the last step made of it what cannot be: ", error.status().message());
    return absl::OkStatus();
  }
  LOWBIT_RETURN_IF_ERROR(error.status());
  if (!(*error <= report.start_error)) {
    report.fallback = absl::StrFormat("the error came to %.4g", *error);
    return absl::OkStatus();
  }
  const LearnedCounts counts = network.Count();
  report.roundings = counts.roundings;
  report.undecided = counts.undecided;
  report.flipped = counts.flipped;
  report.end_error = *error;
  result->model = *std::move(model);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BlockResult> ReconstructBlock(const BlockTask& task, const ReconstructConfig& config,
                                             const std::function<absl::Status(const BlockProgress&)>& on_step) {
  return CatchTorch([&]() -> absl::StatusOr<BlockResult> {
    const auto start = std::chrono::steady_clock::now();
    BlockResult result{task.start, {}};
    BlockReport& report = result.report;
    report.name = task.name;
    LOWBIT_ASSIGN_OR_RETURN(report.start_error, Evaluate(task, config, task.start));
    if (!std::isfinite(report.start_error)) {
      return absl::InvalidArgumentError(
          "before anything is learned its error is NaN or infinite: numbers of the images or of the networks are, or "
          "are too large");
    }
    Learner learner(task, config);
    LOWBIT_RETURN_IF_ERROR(learner.Start());
    if (!learner.network().learns()) {
      report.fallback = "there is nothing to learn in it";
      report.end_error = report.start_error;
      return result;
    }
    LOWBIT_ASSIGN_OR_RETURN(report.fallback, learner.Learn(on_step, &report.losses));
    report.steps = learner.steps();
    if (report.fallback.empty()) LOWBIT_RETURN_IF_ERROR(Finish(task, config, learner.network(), &result));
    if (!report.fallback.empty()) report.end_error = report.start_error;
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  });
}

}  // namespace lowbit
