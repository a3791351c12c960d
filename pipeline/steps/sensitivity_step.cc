#include <algorithm>
#include <set>
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
#include "evaluation/batch_tensor.h"
#include "pipeline/calibration_images.h"
#include "pipeline/paths.h"
#include "pipeline/sensitivity_plan.h"
#include "pipeline/steps/steps.h"
#include "quant/quantizer_registry.h"
#include "sensitivity/html.h"
#include "sensitivity/measure.h"

namespace lowbit {
namespace {

constexpr uint64_t kPurpose = 0x73656e73;  // "sens"

std::string Decibel(double db) { return absl::StrFormat("%.1f", db); }
std::string Percent(double share) { return absl::StrFormat("%.2f", 100 * share); }
std::string Kl(double kl) { return absl::StrFormat(kl > 0 && kl < 1e-4 ? "%.1e" : "%.4f", kl); }

// A row for each layer: KL at every width, and the rest at the smallest one.
TableRows HarmTable(const SensitivityReport& report) {
  const bool weights = !report.weight_quantizer.empty();
  const bool activations = !report.activation_quantizer.empty();
  TableRows rows = {{"layer"}};
  const auto head = [&](const std::string& cell) { rows[0].push_back(cell); };
  for (const int bits : report.bits) head(absl::StrCat("KL ", bits));
  if (weights && activations) {
    head("weight");
    head("activation");
  }
  head("same top-1 %");
  head("output dB");
  if (weights) head("weight dB");
  if (weights) head("w clipped %");
  if (activations) head("a clipped %");
  for (const LayerSensitivity* layer : report.ByHarm()) {
    rows.push_back({layer->name});
    const auto cell = [&](const std::string& text) { rows.back().push_back(text); };
    for (const LayerAtWidth& width : layer->widths) cell(Kl(width.whole().kl));
    const LayerAtWidth& smallest = layer->widths.back();
    if (weights && activations) {
      cell(Kl(smallest.weight_alone->kl));
      cell(Kl(smallest.activation_alone->kl));
    }
    cell(Percent(smallest.whole().same_top1));
    cell(Decibel(smallest.whole().output_sqnr_db));
    if (weights) cell(Decibel(smallest.weight_sqnr_db));
    if (weights) cell(Percent(smallest.weight->clipped));
    if (activations) cell(Percent(smallest.activation->clipped));
  }
  return rows;
}

std::string Heading(const SensitivityReport& report) {
  const auto method = [](const std::string& name) { return name.empty() ? "in float" : absl::StrCat("by ", name); };
  return absl::StrCat("sensitivity: one layer quantized at a time, weights ", method(report.weight_quantizer),
                      ", activations ", method(report.activation_quantizer), "; ", report.images,
                      " training images.\nKL <bits>: of the answers, float || quantized. The rest is at ",
                      report.bits.back(), " bits, and so is the order.");
}

class SensitivityStepImpl : public Step {
 public:
  SensitivityStepImpl(const SensitivityStep& config, std::shared_ptr<const Quantizer> weights,
                      std::shared_ptr<const Quantizer> activations)
      : config_(config), weights_(std::move(weights)), activations_(std::move(activations)) {}

  std::string name() const override { return "sensitivity"; }
  std::vector<Fact> needs() const override {
    if (activations_ != nullptr || WantsInputs()) return {Fact::kWeights, Fact::kStatistics};
    return {Fact::kWeights};
  }
  std::vector<Fact> makes() const override { return {Fact::kSensitivity}; }
  std::vector<Fact> refuses() const override { return {Fact::kQuantized, Fact::kSensitivity}; }

  absl::Status Plan(PlanState& plan) const override {
    LOWBIT_RETURN_IF_ERROR(PlanTrainingImages("num_images", config_.num_images(), plan));
    LOWBIT_ASSIGN_OR_RETURN(const SensitivityOptions options, Options(plan.model.graph));
    LOWBIT_RETURN_IF_ERROR(CheckSupported(plan.model.graph, options));
    for (const int layer : options.layers) {
      const std::string& reads = plan.model.graph.layer(plan.model.graph.layer(layer).inputs.front()).name;
      if (activations_ != nullptr) plan.requests[reads].Merge(activations_->stats_request());
      if (WantsInputs()) plan.requests[plan.model.graph.layer(layer).name].Merge(weights_->weight_stats_request());
    }
    plan.sensitivity = std::make_shared<SensitivityPlan>(SensitivityPlan{options, plan.model.parameters});
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(const SensitivityOptions options, Options(state.model.graph));
    LOWBIT_ASSIGN_OR_RETURN(
        const std::unique_ptr<SensitivityMeasure> measure,
        SensitivityMeasure::Create(state.model, state.statistics.get(), state.inputs.get(), options));
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* train, context.data->Get(Split::kTrain));
    LoaderOptions loading;
    loading.order =
        DrawUnseenImages(train->size(), config_.num_images(), context.seed, kPurpose,
                         state.calibration == nullptr ? std::vector<int64_t>() : state.calibration->indices);
    const std::vector<int64_t> images = loading.order;
    loading.batch_size = config_.batch_size();
    loading.normalization = context.data->normalization();
    LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(train, std::move(loading)));
    Progress progress("sensitivity", measure->experiments() * loader->batch_count(), "experiments");
    while (true) {
      LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader->Next());
      if (!batch.has_value()) break;
      LOWBIT_RETURN_IF_ERROR(measure->Observe(ImagesTensor(*batch), [&] {
        progress.Advance(1);
        return CheckInterrupt();
      }));
    }
    progress.Finish();
    LOWBIT_ASSIGN_OR_RETURN(SensitivityReport report, measure->Finish());
    report.image_order = images;
    const auto kept = std::make_shared<SensitivityReport>(std::move(report));
    state.sensitivity = kept;
    LogLine(absl::StrCat(Heading(*kept), "\n\n", AlignedTable(HarmTable(*kept))));
    Record(*kept, &context.report->steps.back());
    return Write(context, *kept);
  }

 private:
  bool WantsInputs() const { return weights_ != nullptr && !weights_->weight_stats_request().empty(); }

  absl::StatusOr<SensitivityOptions> Options(const Graph& graph) const {
    SensitivityOptions options;
    options.weights = weights_;
    options.activations = activations_;
    options.bits.assign(config_.bits().begin(), config_.bits().end());
    std::sort(options.bits.rbegin(), options.bits.rend());
    std::vector<int> candidates;
    for (int i = 0; i < graph.size(); ++i) {
      if (HasWeight(graph.layer(i).op)) candidates.push_back(i);
    }
    LOWBIT_ASSIGN_OR_RETURN(options.layers,
                            MatchLayers(config_.layers(), graph, candidates, "convolution or linear layer"));
    return options;
  }

  // Each quantizer on each tensor at each width. An error names the method or the width.
  absl::Status CheckSupported(const Graph& graph, const SensitivityOptions& options) const {
    const auto check = [&](const Quantizer* quantizer, int layer, Role role, const char* field) {
      for (int i = 0; quantizer != nullptr && i < config_.bits_size(); ++i) {
        const absl::Status status = quantizer->Supports(graph.layer(layer), role, config_.bits(i));
        if (status.ok()) continue;
        if (ErrorField(status) != "bits") return PrependField(status, field);
        return FieldError(absl::StrCat("bits[", i, "]"), absl::StrCat(field, ": ", status.message()));
      }
      return absl::OkStatus();
    };
    for (const int layer : options.layers) {
      LOWBIT_RETURN_IF_ERROR(check(weights_.get(), layer, Role::kWeight, "weights"));
      LOWBIT_RETURN_IF_ERROR(
          check(activations_.get(), graph.layer(layer).inputs.front(), Role::kActivation, "activations"));
    }
    return absl::OkStatus();
  }

  static void Record(const SensitivityReport& report, nlohmann::ordered_json* record) {
    (*record)["images"] = report.images;
    auto& layers = (*record)["kl_at_smallest_width"] = nlohmann::ordered_json::object();
    for (const LayerSensitivity* layer : report.ByHarm()) layers[layer->name] = layer->widths.back().whole().kl;
  }

  static absl::Status Write(const RunContext& context, const SensitivityReport& report) {
    LOWBIT_RETURN_IF_ERROR(MakeDirs(context.folder));
    LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(JoinPath(context.folder, "sensitivity.json"), SensitivityJson(report)));
    const std::string page = JoinPath(context.folder, "sensitivity.html");
    LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(page, SensitivityHtml(report, context.config->name())));
    LogLine(absl::StrCat("sensitivity: as a page with plots: ", page));
    if (context.events == nullptr) return absl::OkStatus();
    for (const LayerSensitivity& layer : report.layers) {
      for (auto width = layer.widths.rbegin(); width != layer.widths.rend(); ++width) {
        LOWBIT_RETURN_IF_ERROR(
            context.events->AddScalar(absl::StrCat("sensitivity/", layer.name), width->bits, width->whole().kl));
      }
    }
    return absl::OkStatus();
  }

  const SensitivityStep config_;
  const std::shared_ptr<const Quantizer> weights_;      // null: they stay float
  const std::shared_ptr<const Quantizer> activations_;  // likewise
};

absl::StatusOr<std::shared_ptr<const Quantizer>> MakeQuantizer(const QuantizerMethod& method) {
  if (method.name().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("has no name; known are: ", absl::StrJoin(QuantizerNames(), ", ")));
  }
  auto quantizer = CreateQuantizer(method.name(), method.has_options() ? &method.options() : nullptr);
  if (!quantizer.ok()) return quantizer.status();
  return std::shared_ptr<const Quantizer>(*std::move(quantizer));
}

absl::Status CheckBits(const SensitivityStep& config) {
  std::set<int> widths;
  for (int i = 0; i < config.bits_size(); ++i) {
    const std::string field = absl::StrCat("bits[", i, "]");
    if (!IsSupportedWidth(config.bits(i))) {
      return FieldError(field, absl::StrCat("must be 1 to 8, or 16; got ", config.bits(i)));
    }
    if (!widths.insert(config.bits(i)).second) {
      return FieldError(field, absl::StrCat(config.bits(i), " is there twice"));
    }
  }
  if (config.bits().empty()) return FieldError("bits", "there are none");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeSensitivityStep(const SensitivityStep& config) {
  LOWBIT_RETURN_IF_ERROR(CheckBits(config));
  if (config.num_images() < 1) {
    return FieldError("num_images", absl::StrCat("must be at least 1, got ", config.num_images()));
  }
  if (config.batch_size() < 1) {
    return FieldError("batch_size", absl::StrCat("must be at least 1, got ", config.batch_size()));
  }
  if (!config.has_weights() && !config.has_activations()) {
    return absl::InvalidArgumentError(
        "names no quantizer; it should hold weights { name: \"...\" }, activations { name: \"...\" } or both");
  }
  std::shared_ptr<const Quantizer> weights, activations;
  if (config.has_weights()) {
    auto made = MakeQuantizer(config.weights());
    if (!made.ok()) return PrependField(made.status(), "weights");
    weights = *std::move(made);
  }
  if (config.has_activations()) {
    auto made = MakeQuantizer(config.activations());
    if (!made.ok()) return PrependField(made.status(), "activations");
    activations = *std::move(made);
  }
  return std::make_unique<SensitivityStepImpl>(config, std::move(weights), std::move(activations));
}

}  // namespace lowbit
