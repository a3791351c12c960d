#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/field_error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/table.h"
#include "data/loader.h"
#include "evaluation/answer_change.h"
#include "evaluation/batch_tensor.h"
#include "evaluation/evaluator.h"
#include "pipeline/forward_functions.h"
#include "pipeline/steps/steps.h"
#include "quant/quantized_model.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {
namespace {

struct Contender {
  std::string name;
  ForwardFunction forward;
  int64_t weight_bytes = 0;
  int64_t correct = 0;
  AnswerChange change;  // of its answers from the fake-quantized network's, or the float one's if there is none
  double batch_seconds = 0;
  std::vector<double> latencies;  // of single images, seconds
};

// The value that a part of the sorted ones, at least, do not exceed.
double Percentile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(part * static_cast<double>(values.size()));
  return values[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

class BenchmarkStepImpl : public Step {
 public:
  explicit BenchmarkStepImpl(const BenchmarkStep& config) : config_(config) {}

  std::string name() const override { return "benchmark"; }
  bool uses_seed() const override { return false; }
  bool is_quantization_work() const override { return false; }
  std::vector<Fact> needs() const override { return {Fact::kWeights}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* images, plan.data->Get(Split::kTest));
    LOWBIT_RETURN_IF_ERROR(CheckFits(plan.model.graph, *images));
    const auto check = [&](const char* field, int64_t wanted) -> absl::Status {
      if (wanted <= images->size()) return absl::OkStatus();
      return FieldError(field, absl::StrCat("there are ", images->size(), " test images, got ", wanted));
    };
    LOWBIT_RETURN_IF_ERROR(check("max_images", config_.max_images()));
    return check("batch_size", config_.batch_size());
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(std::vector<Contender> contenders, Contenders(state));
    LOWBIT_RETURN_IF_ERROR(MeasureAnswers(context, contenders));
    LOWBIT_RETURN_IF_ERROR(MeasureTimes(context, contenders));
    LogLine(absl::StrCat("benchmark:\n\n", AlignedTable(Table(contenders, state.quantized != nullptr))));
    auto& record = context.report->steps.back();
    for (const Contender& contender : contenders) {
      record["engines"].push_back({{"engine", contender.name},
                                   {"accuracy", Accuracy(contender)},
                                   {"same_top1", contender.change.same_top1()},
                                   {"images_per_second", Speed(contender)},
                                   {"latency_ms_p50", 1e3 * Percentile(contender.latencies, 0.5)},
                                   {"latency_ms_p90", 1e3 * Percentile(contender.latencies, 0.9)},
                                   {"latency_ms_p99", 1e3 * Percentile(contender.latencies, 0.99)},
                                   {"weight_bytes", contender.weight_bytes}});
    }
    return absl::OkStatus();
  }

 private:
  static absl::StatusOr<std::vector<Contender>> Contenders(const RunState& state) {
    std::vector<Contender> contenders;
    const auto add = [&](std::string name, ForwardFunction forward, int64_t weight_bytes) {
      Contender contender;
      contender.name = std::move(name);
      contender.forward = std::move(forward);
      contender.weight_bytes = weight_bytes;
      contenders.push_back(std::move(contender));
    };
    LOWBIT_ASSIGN_OR_RETURN(ForwardFunction of_float, FloatForward(state.model));
    add("float", std::move(of_float), FloatWeightBytes(state.model.graph));
    if (state.torch_int8 != nullptr) {
      add(absl::StrCat("LibTorch int8, ", state.torch_int8->engine()), TorchInt8Forward(state.torch_int8),
          TorchInt8WeightBytes(state.torch_int8->graph()));
    }
    if (state.quantized != nullptr) {
      LOWBIT_ASSIGN_OR_RETURN(ForwardFunction fake, FakeQuantForward(*state.quantized));
      add("fake-quantized", std::move(fake), WeightBytes(*state.quantized));
      LOWBIT_ASSIGN_OR_RETURN(ForwardFunction integer, IntegerForward(*state.quantized));
      add("integer", std::move(integer), WeightBytes(*state.quantized));
    }
    return contenders;
  }

  // The one that the others' answers are compared with.
  static size_t Model(const std::vector<Contender>& contenders) {
    for (size_t i = 0; i < contenders.size(); ++i) {
      if (contenders[i].name == "fake-quantized") return i;
    }
    return 0;
  }

  static absl::StatusOr<std::unique_ptr<Loader>> Load(const RunContext& context, int64_t count, int64_t batch_size) {
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* images, context.data->Get(Split::kTest));
    LoaderOptions options;
    options.order = SequentialOrder(count > 0 ? count : images->size());
    options.batch_size = batch_size;
    options.normalization = context.data->normalization();
    return Loader::Create(images, std::move(options));
  }

  absl::Status MeasureAnswers(const RunContext& context, std::vector<Contender>& contenders) const {
    LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader,
                            Load(context, config_.max_images(), config_.batch_size()));
    Progress progress("benchmark: answers", loader->image_count());
    while (true) {
      LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
      LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
      if (!batch.has_value()) return absl::OkStatus();
      const at::Tensor images = ImagesTensor(*batch), labels = LabelsTensor(*batch);
      std::vector<at::Tensor> answers;
      for (Contender& contender : contenders) {
        LOWBIT_ASSIGN_OR_RETURN(answers.emplace_back(), contender.forward(images));
        contender.correct += answers.back().argmax(1).eq(labels).sum().item<int64_t>();
      }
      for (size_t i = 0; i < contenders.size(); ++i) {
        LOWBIT_RETURN_IF_ERROR(contenders[i].change.Add(answers[Model(contenders)], answers[i]));
      }
      progress.Advance(batch->size());
    }
  }

  static absl::StatusOr<double> Seconds(const ForwardFunction& forward, const at::Tensor& images) {
    const auto start = std::chrono::steady_clock::now();
    LOWBIT_RETURN_IF_ERROR(forward(images).status());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  absl::Status MeasureTimes(const RunContext& context, std::vector<Contender>& contenders) const {
    LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader,
                            Load(context, config_.batch_size(), config_.batch_size()));
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
    const at::Tensor images = ImagesTensor(*batch);
    Progress progress("benchmark: times", config_.batches() * config_.batch_size() + config_.single_images());
    for (int i = 0; i < config_.batches(); ++i) {
      LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
      for (Contender& contender : contenders) {
        LOWBIT_ASSIGN_OR_RETURN(const double seconds, Seconds(contender.forward, images));
        contender.batch_seconds += seconds;
      }
      progress.Advance(config_.batch_size());
    }
    for (int i = 0; i < config_.single_images(); ++i) {
      LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
      const at::Tensor image = images.slice(0, i % images.size(0), i % images.size(0) + 1);
      for (Contender& contender : contenders) {
        LOWBIT_ASSIGN_OR_RETURN(contender.latencies.emplace_back(), Seconds(contender.forward, image));
      }
      progress.Advance(1);
    }
    return absl::OkStatus();
  }

  static double Accuracy(const Contender& contender) {
    return static_cast<double>(contender.correct) / static_cast<double>(contender.change.images);
  }

  double Speed(const Contender& contender) const {
    return static_cast<double>(config_.batches()) * config_.batch_size() / contender.batch_seconds;
  }

  TableRows Table(const std::vector<Contender>& contenders, bool quantized) const {
    TableRows rows = {{"engine", "accuracy", quantized ? "same as fake-quantized" : "same as float", "images/s",
                       "p50 ms", "p90 ms", "p99 ms", "weight bytes"}};
    for (const Contender& contender : contenders) {
      const auto latency = [&](double part) {
        return absl::StrFormat("%.2f", 1e3 * Percentile(contender.latencies, part));
      };
      rows.push_back({contender.name, absl::StrFormat("%.4f", Accuracy(contender)),
                      absl::StrFormat("%.4f", contender.change.same_top1()), absl::StrFormat("%.0f", Speed(contender)),
                      latency(0.5), latency(0.9), latency(0.99), absl::StrCat(contender.weight_bytes)});
    }
    return rows;
  }

  const BenchmarkStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeBenchmarkStep(const BenchmarkStep& config) {
  constexpr double kMost = 1e9;
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("max_images", config.max_images(), 0, kMost, "at least 0"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("batch_size", config.batch_size(), 1, kMost, "at least 1"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("batches", config.batches(), 1, kMost, "at least 1"));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("single_images", config.single_images(), 1, kMost, "at least 1"));
  return std::make_unique<BenchmarkStepImpl>(config);
}

}  // namespace lowbit
