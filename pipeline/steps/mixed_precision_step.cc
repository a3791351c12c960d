#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/table.h"
#include "evaluation/answer_change.h"
#include "evaluation/batch_tensor.h"
#include "mixed_precision/choice.h"
#include "model/executor.h"
#include "pipeline/calibration_images.h"
#include "pipeline/effective_config.h"
#include "pipeline/mixed_precision_config.h"
#include "pipeline/mixed_precision_options.h"
#include "pipeline/mixed_precision_report.h"
#include "pipeline/paths.h"
#include "pipeline/sensitivity_plan.h"
#include "pipeline/steps/steps.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

constexpr uint64_t kPurpose = 0x6d697862;  // "mixb"
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

using OnAnswers = std::function<absl::Status(const Batch& batch, const at::Tensor& logits)>;

// Runs a network over images; `quantized` may be null: in float.
absl::Status Answer(const Model& model, const QuantizedModel* quantized, const Dataset& dataset, LoaderOptions loading,
                    const OnAnswers& on_answers) {
  ParameterMap parameters = model.parameters;
  std::unique_ptr<FakeQuantHook> hook;
  if (quantized != nullptr) {
    LOWBIT_ASSIGN_OR_RETURN(parameters, FakeQuantParameters(*quantized));
    hook = std::make_unique<FakeQuantHook>(*quantized);
  }
  LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(model.graph, std::move(parameters)));
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(&dataset, std::move(loading)));
  while (true) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
    if (!batch.has_value()) return absl::OkStatus();
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor logits, executor.Forward(ImagesTensor(*batch), hook.get()));
    LOWBIT_RETURN_IF_ERROR(on_answers(*batch, logits));
  }
}

class MixedPrecisionStepImpl : public Step {
 public:
  explicit MixedPrecisionStepImpl(const MixedPrecisionStep& config) : config_(config) {}

  std::string name() const override { return "mixed_precision"; }
  std::vector<Fact> needs() const override { return {Fact::kWeights, Fact::kSensitivity}; }
  std::vector<Fact> makes() const override { return {Fact::kQuantized, Fact::kFloatTwin}; }
  bool uses_seed() const override { return config_.has_max_drop(); }
  std::vector<Fact> refuses() const override { return {Fact::kQuantized}; }

  absl::Status Plan(PlanState& plan) const override;
  absl::Status Run(const RunContext& context, RunState& state) const override;

 private:
  struct Work;  // what a run has in hand

  BitsCost cost() const;
  const char* cost_field() const;
  int64_t Budget(const BitsProblem& problem) const;
  absl::Status TooSmall(const BitsProblem& problem, int64_t least) const;
  absl::StatusOr<BitsAssignment> Choose(const Work& work) const;
  absl::StatusOr<BitsAssignment> SmallestWithin(const Work& work) const;
  absl::Status Verify(const Work& work, VerifiedBits* choice) const;
  absl::StatusOr<int64_t> CountRight(const Work& work, const QuantizedModel* quantized,
                                     const std::vector<int64_t>& images) const;
  LoaderOptions Loading(const Work& work, std::vector<int64_t> images) const;

  const MixedPrecisionStep config_;
};

struct MixedPrecisionStepImpl::Work {
  const RunContext& context;
  const Model& model;
  const SensitivityReport& report;
  const std::vector<int64_t>& calibration_images;
  const Dataset& images;
  BitsProblem problem;
  BitsOptions options;
};

// ---- The budget ----

BitsCost MixedPrecisionStepImpl::cost() const {
  if (config_.budget_case() == MixedPrecisionStep::kMeanWeightBits) return BitsCost::kWeightBits;
  if (config_.budget_case() == MixedPrecisionStep::kBitOperations) return BitsCost::kBitOperations;
  return BitsCost::kWeightBytes;
}

const char* MixedPrecisionStepImpl::cost_field() const {
  if (config_.budget_case() == MixedPrecisionStep::kMeanWeightBits) return "mean_weight_bits";
  return config_.budget_case() == MixedPrecisionStep::kBitOperations ? "bit_operations" : "weight_bytes";
}

int64_t MixedPrecisionStepImpl::Budget(const BitsProblem& problem) const {
  if (config_.budget_case() == MixedPrecisionStep::kBitOperations) return config_.bit_operations();
  if (config_.budget_case() == MixedPrecisionStep::kWeightBytes) return config_.weight_bytes();
  int64_t weights = 0;
  for (const auto& layer : problem.layers) weights += layer.weights;
  // A mean of 2.3 bits is meant as written, not as the binary fraction below it.
  return static_cast<int64_t>(std::floor(config_.mean_weight_bits() * static_cast<double>(weights) * (1 + 1e-12)));
}

absl::Status MixedPrecisionStepImpl::TooSmall(const BitsProblem& problem, int64_t least) const {
  int64_t weights = 0;
  for (const auto& layer : problem.layers) weights += layer.weights;
  if (cost() == BitsCost::kWeightBits) {
    // Rounded up, so that the value named can be met.
    const double mean = std::ceil(1e4 * static_cast<double>(least) / static_cast<double>(weights)) / 1e4;
    return FieldError(cost_field(), absl::StrFormat("the smallest that the widths allow is %g, got %g", mean,
                                                    config_.mean_weight_bits()));
  }
  return FieldError(cost_field(),
                    absl::StrCat("the smallest that the widths allow is ", least, ", got ", Budget(problem)));
}

absl::Status MixedPrecisionStepImpl::Plan(PlanState& plan) const {
  const SensitivityPlan& measured = *plan.sensitivity;
  if (measured.options.weights == nullptr) {
    return absl::InvalidArgumentError("the sensitivity step before it names no quantizer for weights");
  }
  const bool activations = measured.options.activations != nullptr;
  if (!activations && !config_.activation_bits().empty()) {
    return FieldError("activation_bits", "the sensitivity step before it names no quantizer for activations");
  }
  const Graph& graph = plan.model.graph;
  LOWBIT_RETURN_IF_ERROR(CheckUnchanged(measured.parameters, plan.model.parameters));
  LOWBIT_ASSIGN_OR_RETURN(const BitsOptions options,
                          MakeBitsOptions(config_, graph, measured.options.layers, measured.options.bits));
  const BitsProblem problem = MakeBitsProblem(graph, measured.options.layers, activations);
  if (cost() != BitsCost::kWeightBytes) {
    // Bytes depend on the scales; the other costs are known.
    auto front = BitsFront::Compute(problem, options, cost(), Budget(problem));
    if (!front.ok()) return PrependField(front.status(), "keep");
    if (front->size() == 0) return TooSmall(problem, front->least_cost());
  } else {
    const auto uniform = UniformBits(problem, options, options.weight_bits.front());
    if (!uniform.ok()) return PrependField(uniform.status(), "keep");
  }
  if (config_.has_max_drop()) LOWBIT_RETURN_IF_ERROR(PlanTrainingImages("check_images", config_.check_images(), plan));
  const auto widths = [](const Quantizer& quantizer, const std::vector<int>& bits) {
    return absl::StrCat(quantizer.name(), ", ", absl::StrJoin(bits, "/"), " bits");
  };
  for (const int layer : measured.options.layers) {
    const auto kept = options.kept.find(layer);
    const std::vector<int> one = kept == options.kept.end() ? std::vector<int>() : std::vector<int>{kept->second};
    const std::vector<int>& reads = options.same ? options.weight_bits : options.activation_bits;
    const std::vector<int>& bits = one.empty() ? options.weight_bits : one;
    plan.quantization.push_back(
        {graph.layer(layer).name, widths(*measured.options.weights, bits),
         activations ? widths(*measured.options.activations, one.empty() ? reads : one) : "float",
         graph.layer(graph.layer(layer).inputs.front()).name,
         measured.options.weights->rounds_to_nearest() ? 0 : *std::max_element(bits.begin(), bits.end())});
  }
  return absl::OkStatus();
}

// ---- The choice ----

LoaderOptions MixedPrecisionStepImpl::Loading(const Work& work, std::vector<int64_t> images) const {
  LoaderOptions loading;
  loading.order = std::move(images);
  loading.batch_size = config_.batch_size();
  loading.normalization = work.context.data->normalization();
  return loading;
}

absl::StatusOr<int64_t> MixedPrecisionStepImpl::CountRight(const Work& work, const QuantizedModel* quantized,
                                                           const std::vector<int64_t>& images) const {
  int64_t right = 0;
  LOWBIT_RETURN_IF_ERROR(Answer(
      work.model, quantized, work.images, Loading(work, images), [&](const Batch& batch, const at::Tensor& logits) {
        const at::Tensor dense = logits.contiguous();
        const int64_t classes = dense.size(1);
        for (int64_t n = 0; n < batch.size(); ++n) {
          const float* const row = dense.data_ptr<float>() + n * classes;
          right += std::max_element(row, row + classes) - row == batch.labels[static_cast<size_t>(n)];
        }
        return absl::OkStatus();
      }));
  return right;
}

absl::Status MixedPrecisionStepImpl::Verify(const Work& work, VerifiedBits* choice) const {
  LOWBIT_ASSIGN_OR_RETURN(const QuantizedModel quantized, QuantizeWith(work.model, work.report, choice->bits));
  int64_t seen = 0;
  return Answer(work.model, &quantized, work.images, Loading(work, work.report.image_order),
                [&](const Batch& batch, const at::Tensor& logits) {
                  const at::Tensor wanted = work.report.logits.narrow(0, seen, batch.size());
                  seen += batch.size();
                  return choice->change.Add(wanted, logits);
                });
}

absl::StatusOr<BitsAssignment> MixedPrecisionStepImpl::Choose(const Work& work) const {
  if (config_.has_max_drop()) return SmallestWithin(work);
  LOWBIT_ASSIGN_OR_RETURN(const BitsFront front,
                          BitsFront::Compute(work.problem, work.options, cost(), Budget(work.problem)));
  if (front.size() == 0) return TooSmall(work.problem, front.least_cost());
  return front.Assignment(front.size() - 1);
}

// The smallest model of the front, by bisection: the one found is within max_drop, the next smaller one is not.
absl::StatusOr<BitsAssignment> MixedPrecisionStepImpl::SmallestWithin(const Work& work) const {
  LOWBIT_ASSIGN_OR_RETURN(const BitsFront front,
                          BitsFront::Compute(work.problem, work.options, BitsCost::kWeightBytes, kNoLimit));
  std::vector<int64_t> seen = work.calibration_images;
  seen.insert(seen.end(), work.report.image_order.begin(), work.report.image_order.end());
  const std::vector<int64_t> images =
      DrawUnseenImages(work.images.size(), config_.check_images(), work.context.seed, kPurpose, seen);
  const double count = static_cast<double>(images.size());
  const int64_t rounds = 2 + static_cast<int64_t>(std::ceil(std::log2(static_cast<double>(front.size()))));
  Progress progress("mixed_precision: accuracy", rounds, "models");
  LOWBIT_ASSIGN_OR_RETURN(const int64_t in_float, CountRight(work, nullptr, images));
  progress.Advance(1);
  auto& record = work.context.report->steps.back();
  record["check_images"] = config_.check_images();
  record["check_top1_float"] = static_cast<double>(in_float) / count;
  std::map<int, double> drops;  // in points
  const auto drop = [&](int i) -> absl::StatusOr<double> {
    LOWBIT_ASSIGN_OR_RETURN(const QuantizedModel model, QuantizeWith(work.model, work.report, front.Assignment(i)));
    LOWBIT_ASSIGN_OR_RETURN(const int64_t right, CountRight(work, &model, images));
    progress.Advance(1);
    return drops[i] = 100 * static_cast<double>(in_float - right) / count;
  };
  int within = front.size() - 1;
  LOWBIT_ASSIGN_OR_RETURN(const double least, drop(within));
  if (least > config_.max_drop()) {
    return FieldError("max_drop",
                      absl::StrFormat("the smallest that the widths allow is %.2f, that of a model of %d bytes; got %g",
                                      least, front.cost(within), config_.max_drop()));
  }
  for (int beyond = -1; within - beyond > 1;) {
    const int middle = beyond + (within - beyond) / 2;
    LOWBIT_ASSIGN_OR_RETURN(const double here, drop(middle));
    (here <= config_.max_drop() ? within : beyond) = middle;
  }
  // A bisection may get by with one model less.
  progress.Advance(rounds - 1 - static_cast<int64_t>(drops.size()));
  progress.Finish();
  record["check_drop"] = drops.at(within);
  LogLine(absl::StrFormat("mixed_precision: %.2f points below float (%.2f %%) on %d other training images",
                          drops.at(within), 100 * static_cast<double>(in_float) / count, images.size()));
  return front.Assignment(within);
}

// ---- The step ----

absl::Status MixedPrecisionStepImpl::Run(const RunContext& context, RunState& state) const {
  const SensitivityReport& report = *state.sensitivity;
  const Graph& graph = state.model.graph;
  LOWBIT_RETURN_IF_ERROR(CheckUnchanged(report.parameters, state.model.parameters));
  LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, context.data->Get(Split::kTrain));
  std::vector<int64_t> calibration;
  if (state.calibration != nullptr) calibration = state.calibration->indices;
  Work work{context, state.model, report, calibration, *train, MakeBitsProblem(graph, report), {}};
  std::vector<int> layers;
  for (const auto& layer : work.problem.layers) layers.push_back(layer.layer);
  LOWBIT_ASSIGN_OR_RETURN(work.options, MakeBitsOptions(config_, graph, layers, report.bits));

  std::vector<VerifiedBits> choices(1);
  choices[0].name = "mixed";
  LOWBIT_ASSIGN_OR_RETURN(choices[0].bits, Choose(work));
  for (const int bits : work.options.weight_bits) {
    choices.push_back({absl::StrCat("all ", bits, work.options.kept.empty() ? "" : " but those kept"), {}, {}});
    LOWBIT_ASSIGN_OR_RETURN(choices.back().bits, UniformBits(work.problem, work.options, bits));
  }
  Progress progress("mixed_precision: verify", static_cast<int64_t>(choices.size()), "models");
  for (VerifiedBits& choice : choices) {
    LOWBIT_RETURN_IF_ERROR(Verify(work, &choice));
    progress.Advance(1);
  }
  progress.Finish();
  const BitsAssignment& chosen = choices.front().bits;
  LOWBIT_ASSIGN_OR_RETURN(QuantizedModel quantized, QuantizeWith(state.model, report, chosen));
  state.quantized = std::make_shared<QuantizedModel>(std::move(quantized));

  LogLine(absl::StrCat("mixed_precision:\n\n", AlignedTable(BitsTable(graph, work.problem, chosen)), "\nOn the ",
                       report.images, " images of the sensitivity step:\n\n",
                       AlignedTable(BitsComparison(work.problem, choices))));
  const int64_t budget = config_.has_max_drop() ? CostOf(work.problem, chosen, cost()) : Budget(work.problem);
  for (const VerifiedBits& choice : choices) {
    if (CostOf(work.problem, choice.bits, cost()) > budget || choice.change.kl() >= choices[0].change.kl()) continue;
    LogLine(absl::StrCat("mixed_precision: ", choice.name,
                         " is within the budget too, and has the smaller KL: here the ",
                         "layers' harms do not add up"));
  }
  const nlohmann::ordered_json json = MixedPrecisionJson(graph, work.problem, choices);
  context.report->steps.back().update(json);
  LOWBIT_RETURN_IF_ERROR(MakeDirs(context.folder));
  LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(
      JoinPath(context.folder, "mixed_precision.json"),
      json.dump(1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace) + "\n"));
  const std::string path = JoinPath(context.folder, "mixed_precision.textproto");
  LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(path, ConfigText(ConfigWithBits(*context.config, graph, chosen))));
  LogLine(absl::StrCat("mixed_precision: a config that makes the same model: ", path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeMixedPrecisionStep(const MixedPrecisionStep& config) {
  LOWBIT_RETURN_IF_ERROR(CheckMixedPrecision(config));
  return std::make_unique<MixedPrecisionStepImpl>(config);
}

}  // namespace lowbit
