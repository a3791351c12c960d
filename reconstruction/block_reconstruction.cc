#include "reconstruction/block_reconstruction.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/kl_div.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "model/executor.h"
#include "model/torch_boundary.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "quant/learned_fake_quantize.h"
#include "quant/twin_activations.h"
#include "reconstruction/learned_weight.h"
#include "train/optimizer.h"

namespace lowbit {
namespace {

// Streams of the block's seed.
constexpr uint64_t kOrderStream = 1;
constexpr uint64_t kMixStream = 2;

// Images that are run at once where nothing is learned.
constexpr int64_t kEvaluationBatch = 256;

// The shown loss forgets at this rate.
constexpr double kSmoothing = 0.98;

// Of what an activation's scale began with.
constexpr double kSmallestFactor = 0.1;

constexpr double kPi = 3.14159265358979323846;

TrainConfig AdamConfigOnly() {
  TrainConfig config;
  config.mutable_adam();
  config.set_weight_decay(0);
  return config;
}

// From 1 to 0 along half a cosine.
double CosineFactor(int64_t step, int64_t steps) {
  return 0.5 * (1 + std::cos(kPi * static_cast<double>(step) / static_cast<double>(steps)));
}

// The scale of the tensor that one layer puts out.
struct LearnedActivation {
  QuantParams params;
  at::Tensor factor;  // leaf, [1]: what the scale at the start is multiplied by
  bool relu = false;  // the layer's relu is in the fake quantization

  float scale() const { return params.scale.front() * *factor.data_ptr<float>(); }
};

// What happens to activations on their way through the block.
enum class ActivationMode { kFloat, kMixed, kQuantized };

class LearningHook : public LayerHook {
 public:
  std::map<int, LearnedActivation> activations;  // by layer of the graph that is run
  ActivationMode mode = ActivationMode::kQuantized;
  double float_probability = 0;
  uint64_t seed = 0;  // of this step

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    const auto found = activations.find(layer);
    if (found == activations.end()) return y;
    const LearnedActivation& activation = found->second;
    RandomFloat stays_float{0, static_cast<uint32_t>(MixKeys({seed, static_cast<uint64_t>(layer)}))};
    if (mode == ActivationMode::kFloat) stays_float.probability = 1;
    if (mode == ActivationMode::kMixed) stays_float.probability = float_probability;
    const at::Tensor scale = activation.factor.mul(activation.params.scale.front());
    return LearnedFakeQuantize(y, scale, activation.params, activation.relu, stays_float);
  }
};

// The block's graph as it is run while learning, where relus that are followed by a fake quantization are part of it.
struct FusedGraph {
  Graph graph;
  std::map<int, LearnedActivation> activations;
};

absl::StatusOr<FusedGraph> FuseRelus(const Graph& graph, const std::map<std::string, QuantParams>& params) {
  std::vector<Layer> layers;
  std::vector<int> index(static_cast<size_t>(graph.size()));  // in the new graph
  std::map<int, LearnedActivation> activations;
  for (int i = 0; i < graph.size(); ++i) {
    Layer layer = graph.layer(i);
    const auto found = params.find(layer.name);
    bool fused = false;
    if (found != params.end() && std::holds_alternative<Relu>(layer.op)) {
      const int producer = layer.inputs.front();
      fused = producer > 0 && graph.consumers(producer).size() == 1 &&
              params.count(graph.layer(producer).name) == 0;
      if (fused) index[static_cast<size_t>(i)] = index[static_cast<size_t>(producer)];
    }
    if (!fused) {
      for (int& input : layer.inputs) input = index[static_cast<size_t>(input)];
      index[static_cast<size_t>(i)] = static_cast<int>(layers.size());
      layers.push_back(std::move(layer));
    }
    if (found == params.end()) continue;
    activations[index[static_cast<size_t>(i)]] =
        LearnedActivation{found->second, at::ones({1}, at::kFloat).set_requires_grad(true), fused};
  }
  LOWBIT_ASSIGN_OR_RETURN(Graph fused_graph, Graph::Create(std::move(layers)));
  return FusedGraph{std::move(fused_graph), std::move(activations)};
}

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
  // One phase after the other. FailedPrecondition: it diverged.
  absl::Status Learn(const std::function<absl::Status(const BlockProgress&)>& on_step);
  absl::StatusOr<QuantizedModel> Finish(BlockReport& report) const;
  int64_t steps() const { return config_.iterations() + config_.activation_iterations(); }

 private:
  struct LearnedLayer {
    std::string name;
    std::unique_ptr<LearnedWeight> weight;
    at::Tensor value;  // contiguous
    at::Tensor leaf;   // what the network runs with, in its memory order
  };

  absl::Status Step(bool weights, int64_t step, int64_t phase_steps, double& loss);
  absl::StatusOr<double> Loss(const std::vector<int64_t>& rows);
  absl::StatusOr<at::Tensor> PredictionLoss(const std::vector<int64_t>& rows, uint64_t seed);
  void Regularize(int64_t step);
  bool LearnsActivations() const { return config_.activation_scale_rate() > 0 && !hook_.activations.empty(); }

  const BlockTask& task_;
  const ReconstructConfig& config_;
  std::vector<LearnedLayer> layers_;
  ParameterMap biases_;  // leaves
  LearningHook hook_;
  std::optional<Executor> executor_, rest_;
  std::optional<Optimizer> roundings_, weight_scales_, activation_scales_, bias_optimizer_;
  int64_t total_step_ = 0;
  std::unique_ptr<Batches> batches_;
};

absl::Status Learner::Start() {
  LOWBIT_ASSIGN_OR_RETURN(FusedGraph fused, FuseRelus(task_.start.graph, task_.start.activations));
  hook_.activations = std::move(fused.activations);
  hook_.float_probability = config_.float_activations();
  LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(task_.start));
  ParameterMap rounding, weight_scale, activation_scale;
  const bool learns_weights = config_.rounding() != ReconstructConfig::AS_CHOSEN || config_.weight_scale_rate() > 0;
  for (const auto& [name, packed] : task_.start.weights) {
    if (!learns_weights) break;
    const std::string parameter = ParameterName(name, "weight");
    const at::Tensor& float_weight = task_.float_part.parameters.at(parameter);
    const QuantizedTensor start{packed.params, UnpackWeight(packed)};
    LearnedLayer layer{name, nullptr, at::empty(float_weight.sizes(), at::kFloat), at::Tensor()};
    switch (config_.rounding()) {
      case ReconstructConfig::UP_OR_DOWN:
        layer.weight = MakeUpOrDown(float_weight, start, config_.hold());
        break;
      case ReconstructConfig::DIVIDED:
        layer.weight = MakeDivided(float_weight, start);
        break;
      case ReconstructConfig::LATENT:
      case ReconstructConfig::AS_CHOSEN:
        layer.weight = MakeLatent(float_weight, start);
        break;
    }
    layer.leaf = parameters.at(parameter).clone(float_weight.dim() == 4 ? at::MemoryFormat::ChannelsLast
                                                                        : at::MemoryFormat::Contiguous);
    layer.leaf.set_requires_grad(true);
    parameters[parameter] = layer.leaf;
    for (size_t i = 0; i < layer.weight->rounding().size(); ++i) {
      rounding[absl::StrCat(name, "/", i)] = layer.weight->rounding()[i];
    }
    weight_scale[name] = layer.weight->scale_factor();
    layers_.push_back(std::move(layer));
  }
  if (config_.bias_rate() > 0) {
    for (auto& [name, tensor] : parameters) {
      if (tensor.dim() != 1 || name.size() < 5 || name.substr(name.size() - 5) != ".bias") continue;
      tensor = tensor.clone().set_requires_grad(true);
      biases_[name] = tensor;
    }
  }
  for (auto& [layer, activation] : hook_.activations) {
    activation_scale[fused.graph.layer(layer).name] = activation.factor;
    if (config_.activation_scale_rate() == 0) activation.factor.set_requires_grad(false);
  }
  const TrainConfig adam = AdamConfigOnly();
  if (config_.rounding() != ReconstructConfig::AS_CHOSEN) roundings_.emplace(adam, rounding);
  if (config_.weight_scale_rate() > 0) weight_scales_.emplace(adam, weight_scale);
  if (LearnsActivations()) activation_scales_.emplace(adam, activation_scale);
  if (!biases_.empty()) bias_optimizer_.emplace(adam, biases_);
  ExecutorOptions training;
  training.training = true;
  LOWBIT_ASSIGN_OR_RETURN(executor_, Executor::Create(fused.graph, parameters, training));
  if (config_.prediction_difference() > 0 && task_.rest.has_value()) {
    LOWBIT_ASSIGN_OR_RETURN(rest_, Executor::Create(task_.rest->graph, task_.rest->parameters, training));
  }
  batches_ = std::make_unique<Batches>(task_.target.size(0), config_.batch_size(), task_.seed);
  return absl::OkStatus();
}

// Of the block with everything quantized: the rest of the network in float, and how far its answers are then from those
// of the float network.
absl::StatusOr<at::Tensor> Learner::PredictionLoss(const std::vector<int64_t>& rows, uint64_t seed) {
  hook_.mode = ActivationMode::kQuantized;
  const at::Tensor x = MixRows(task_.quantized_in, task_.quantized_in, rows, {0, static_cast<uint32_t>(seed)});
  LOWBIT_ASSIGN_OR_RETURN(at::Tensor logits, executor_->Forward(x, &hook_));
  if (rest_.has_value()) {
    LOWBIT_ASSIGN_OR_RETURN(logits, rest_->Forward(logits));
  }
  const at::Tensor wanted = MixRows(task_.logits, task_.logits, rows, {0, 0});
  const double t = config_.temperature();
  return at::kl_div(at::log_softmax(logits.div(t), 1), at::softmax(wanted.div(t), 1), at::Reduction::Sum)
      .mul(config_.prediction_difference() / static_cast<double>(rows.size()));
}

absl::StatusOr<double> Learner::Loss(const std::vector<int64_t>& rows) {
  const uint64_t seed = MixKeys({task_.seed, kMixStream, static_cast<uint64_t>(total_step_)});
  hook_.seed = seed;
  const at::Tensor x = MixRows(task_.float_in, task_.quantized_in, rows,
                               {config_.float_inputs(), static_cast<uint32_t>(seed)});
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor y, executor_->Forward(x, &hook_));
  at::Tensor gradient;
  double loss = SquaredError(y.detach(), task_.target, rows, &gradient);
  if (config_.prediction_difference() == 0) {
    torch::autograd::backward({y}, {gradient});
    return loss;
  }
  const ActivationMode mode = hook_.mode;
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor prediction, PredictionLoss(rows, seed));
  hook_.mode = mode;
  torch::autograd::backward({y, prediction}, {gradient, at::ones({}, at::kFloat)});
  return loss + prediction.item<double>();
}

// The exponent falls as a line once the warm-up is over.
void Learner::Regularize(int64_t step) {
  const double warmup = config_.warmup() * static_cast<double>(config_.iterations());
  if (config_.regularization() == 0 || static_cast<double>(step) < warmup) return;
  const double done =
      (static_cast<double>(step) - warmup) / std::max(1.0, static_cast<double>(config_.iterations()) - warmup);
  const double sharpness =
      config_.start_sharpness() + done * (config_.end_sharpness() - config_.start_sharpness());
  for (LearnedLayer& layer : layers_) layer.weight->Regularize(config_.regularization(), sharpness);
}

absl::Status Learner::Step(bool weights, int64_t step, int64_t phase_steps, double& loss) {
  if (weights) {
    const c10::AutoGradMode no_gradients(false);
    for (LearnedLayer& layer : layers_) {
      layer.weight->Write(layer.value);
      layer.leaf.copy_(layer.value);
    }
  }
  LOWBIT_ASSIGN_OR_RETURN(loss, Loss(batches_->Next()));
  if (!std::isfinite(loss)) {
    return absl::FailedPreconditionError(absl::StrFormat("the loss became %g at step %d", loss, total_step_));
  }
  if (weights) {
    for (LearnedLayer& layer : layers_) {
      layer.weight->Back(layer.leaf.grad().contiguous());
      layer.leaf.mutable_grad().reset();
    }
    Regularize(step);
    if (roundings_.has_value()) roundings_->Step(config_.rounding_rate());
    const double falling = CosineFactor(step, phase_steps);
    if (weight_scales_.has_value()) weight_scales_->Step(falling * config_.weight_scale_rate());
    if (bias_optimizer_.has_value()) bias_optimizer_->Step(falling * config_.bias_rate());
    for (LearnedLayer& layer : layers_) layer.weight->KeepScales();
  }
  if (activation_scales_.has_value() && hook_.mode != ActivationMode::kFloat) {
    activation_scales_->Step(CosineFactor(step, phase_steps) * config_.activation_scale_rate());
    const c10::AutoGradMode no_gradients(false);
    for (auto& [layer, activation] : hook_.activations) activation.factor.clamp_min_(kSmallestFactor);
  }
  return absl::OkStatus();
}

absl::Status Learner::Learn(const std::function<absl::Status(const BlockProgress&)>& on_step) {
  double smooth = -1;
  const auto phase = [&](bool weights, ActivationMode mode, int64_t steps) -> absl::Status {
    for (int64_t step = 0; step < steps; ++step, ++total_step_) {
      hook_.mode = mode;
      double loss = 0;
      LOWBIT_RETURN_IF_ERROR(CatchTorch([&] { return Step(weights, step, steps, loss); }));
      smooth = smooth < 0 ? loss : kSmoothing * smooth + (1 - kSmoothing) * loss;
      LOWBIT_RETURN_IF_ERROR(on_step({total_step_ + 1, smooth}));
    }
    return absl::OkStatus();
  };
  if (config_.activation_iterations() == 0) return phase(true, ActivationMode::kMixed, config_.iterations());
  LOWBIT_RETURN_IF_ERROR(phase(true, ActivationMode::kFloat, config_.iterations()));
  // From here on with the roundings as they come to be.
  for (LearnedLayer& layer : layers_) {
    const QuantizedTensor weight = layer.weight->Harden();
    layer.leaf.set_requires_grad(false);
    layer.leaf.copy_(Dequantize(weight.codes, weight.params));
  }
  for (auto& [name, bias] : biases_) bias.set_requires_grad(false);
  if (!LearnsActivations()) return absl::OkStatus();
  return phase(false, ActivationMode::kQuantized, config_.activation_iterations());
}

absl::StatusOr<QuantizedModel> Learner::Finish(BlockReport& report) const {
  QuantizedModel model = task_.start;
  for (const LearnedLayer& layer : layers_) {
    const QuantizedTensor weight = layer.weight->Harden();
    report.roundings += layer.weight->size();
    report.undecided += layer.weight->Undecided();
    report.flipped += UnpackWeight(model.weights.at(layer.name)).ne(weight.codes).sum().item<int64_t>();
    LOWBIT_RETURN_IF_ERROR(SetWeight(layer.name, weight, &model));
  }
  for (const auto& [name, bias] : biases_) LOWBIT_RETURN_IF_ERROR(SetParameter(name, bias.detach(), &model));
  const Graph& graph = executor_->graph();
  for (const auto& [layer, activation] : hook_.activations) {
    // A relu that was fused: its layer comes after the one that is left of the two.
    std::string name = graph.layer(layer).name;
    if (activation.relu) {
      const Graph& whole = model.graph;
      name = whole.layer(whole.consumers(whole.Find(name)).front()).name;
    }
    model.activations.at(name).scale.front() = activation.scale();
  }
  return model;
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
    sum += SquaredError(y, task.target, rows, &gradient) * static_cast<double>(count);
    if (config.prediction_difference() == 0) continue;
    if (rest.has_value()) {
      LOWBIT_ASSIGN_OR_RETURN(y, rest->Forward(y));
    }
    const double t = config.temperature();
    const at::Tensor wanted = task.logits.narrow(0, first, count);
    sum += config.prediction_difference() *
           at::kl_div(at::log_softmax(y.div(t), 1), at::softmax(wanted.div(t), 1), at::Reduction::Sum).item<double>();
  }
  return sum / static_cast<double>(images);
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
    Learner learner(task, config);
    LOWBIT_RETURN_IF_ERROR(learner.Start());
    report.steps = learner.steps();
    const absl::Status learned = learner.Learn(on_step);
    if (absl::IsFailedPrecondition(learned)) {
      report.fallback = std::string(learned.message());
    } else {
      LOWBIT_RETURN_IF_ERROR(learned);
      LOWBIT_ASSIGN_OR_RETURN(QuantizedModel model, learner.Finish(report));
      LOWBIT_ASSIGN_OR_RETURN(report.end_error, Evaluate(task, config, model));
      if (report.end_error <= report.start_error) {
        result.model = std::move(model);
      } else {
        report.fallback = absl::StrFormat("the error came to %.4g", report.end_error);
      }
    }
    if (!report.fallback.empty()) {
      report.end_error = report.start_error;
      report.flipped = 0;
    }
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  });
}

}  // namespace lowbit
