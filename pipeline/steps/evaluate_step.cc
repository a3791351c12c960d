#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "evaluation/confusion_picture.h"
#include "evaluation/evaluator.h"
#include "pipeline/forward_functions.h"
#include "pipeline/paths.h"
#include "pipeline/steps/steps.h"
#include "raster/contact_sheet.h"
#include "raster/png.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {
namespace {

// Keeps the choice of unseen images apart from the seed's other random choices.
constexpr uint64_t kUnseenImages = 0x65766175;  // "evau"

// They are one picture, which somebody looks at.
constexpr int kMostMistakes = 1000;

// The network as it stands: float, or with what the quantizers chose; or in one of the engines for integers.
absl::StatusOr<ForwardFunction> MakeForward(const RunState& state, EvaluateStep::Engine engine) {
  if (engine == EvaluateStep::TORCH_INT8) return TorchInt8Forward(state.torch_int8);
  if (engine == EvaluateStep::INTEGER) return IntegerForward(*state.quantized);
  return state.quantized == nullptr ? FloatForward(state.model) : FakeQuantForward(*state.quantized);
}

Fact Needed(EvaluateStep::Engine engine) {
  switch (engine) {
    case EvaluateStep::TORCH_INT8:
      return Fact::kTorchInt8;
    case EvaluateStep::INTEGER:
      return Fact::kQuantized;
    case EvaluateStep::ATEN:
      break;
  }
  return Fact::kWeights;
}

// "mistakes.png"; if an earlier step wrote that, "mistakes_<label>.png" and so on.
std::string MistakesFile(const RunContext& context, const std::string& label) {
  constexpr size_t kLongest = 100;  // a file's name has its limits
  const std::string safe = SafeFileName(label.substr(0, kLongest));
  for (int number = 1;; ++number) {
    const std::string file = number == 1   ? "mistakes.png"
                             : number == 2 ? absl::StrCat("mistakes_", safe, ".png")
                                           : absl::StrCat("mistakes_", safe, "-", number - 1, ".png");
    const auto& steps = context.report->steps;
    if (std::none_of(steps.begin(), steps.end(), [&](const nlohmann::ordered_json& step) {
          return step["variant"] == context.variant && step.value("mistakes", "") == file;
        })) {
      return file;
    }
  }
}

absl::StatusOr<RgbImage> DrawMistakes(const std::string& label, const std::vector<Mistake>& mistakes,
                                      const Dataset& images) {
  const ImageShape shape = images.image_shape();
  const std::vector<std::string>& names = images.class_names();
  std::vector<Tile> tiles;
  for (const Mistake& mistake : mistakes) {
    std::vector<uint8_t> pixels(static_cast<size_t>(shape.size()));
    int32_t unused_label;
    LOWBIT_RETURN_IF_ERROR(images.Get(mistake.index, pixels.data(), &unused_label));
    tiles.push_back({FromPlanes(pixels.data(), shape.channels, shape.height, shape.width),
                     {names[static_cast<size_t>(mistake.label)],
                      absl::StrCat("said ", names[static_cast<size_t>(mistake.prediction)]),
                      absl::StrFormat("%.1f %%, #%d", 100 * mistake.confidence, mistake.index)}});
  }
  return ContactSheet(absl::StrCat(label, ": most confident mistakes"), tiles);
}

class EvaluateStepImpl : public Step {
 public:
  explicit EvaluateStepImpl(const EvaluateStep& config) : config_(config) {}

  std::string name() const override { return "evaluate"; }
  bool uses_seed() const override { return config_.images() == EvaluateStep::UNSEEN_TRAINING; }
  bool is_quantization_work() const override { return false; }
  std::vector<Fact> needs() const override { return {Needed(config_.engine())}; }

  absl::Status Plan(PlanState& plan) const override {
    const bool test = config_.images() == EvaluateStep::TEST;
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* images, plan.data->Get(Source()));
    LOWBIT_RETURN_IF_ERROR(CheckFits(plan.model.graph, *images));
    if (config_.max_images() > images->size()) {
      return FieldError("max_images", absl::StrCat("there are ", images->size(), test ? " test" : " training",
                                                   " images, got ", config_.max_images()));
    }
    return absl::OkStatus();
  }

  absl::Status Run(const RunContext& context, RunState& state) const override {
    LOWBIT_ASSIGN_OR_RETURN(const ForwardFunction forward, MakeForward(state, config_.engine()));
    LOWBIT_ASSIGN_OR_RETURN(const Dataset* images, context.data->Get(Source()));
    LoaderOptions loading;
    loading.order =
        Order(config_.max_images() > 0 ? config_.max_images() : images->size(), images->size(), context.seed, state);
    loading.batch_size = config_.batch_size();
    loading.normalization = context.data->normalization();
    LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Loader> loader, Loader::Create(images, std::move(loading)));

    EvaluationRow row;
    row.variant = context.variant;
    row.name = config_.name();
    if (config_.engine() == EvaluateStep::TORCH_INT8) {
      if (row.name.empty()) row.name = "LibTorch int8";
      row.quantized = true;
      row.weight_bytes = TorchInt8WeightBytes(state.torch_int8->graph());
      context.report->steps.back()["engine"] = state.torch_int8->engine();
    } else {
      if (config_.engine() == EvaluateStep::INTEGER && row.name.empty()) row.name = "integer";
      row.quantized = state.quantized != nullptr;
      row.weight_bytes = row.quantized ? WeightBytes(*state.quantized) : FloatWeightBytes(state.model.graph);
    }
    EvaluationOptions options;
    options.label = absl::StrCat("evaluate ", row.label());
    options.mistakes = config_.mistakes();
    LOWBIT_ASSIGN_OR_RETURN(row.result, Evaluate(forward, *loader, options));
    auto& record = context.report->steps.back();
    record["images"] = row.result.metrics.images;
    record["top1"] = row.result.metrics.top1;
    // Evaluations of one run (of one value, in a sweep) are the steps of a chart.
    auto& rows = context.report->rows;
    const int64_t step = std::count_if(rows.begin(), rows.end(),
                                       [&](const EvaluationRow& other) { return other.variant == context.variant; });
    // In the report before anything can go wrong with the pictures.
    context.report->class_names = images->class_names();
    rows.push_back(std::move(row));
    if (config_.per_class()) {
      Say(absl::StrCat("evaluate ", rows.back().label(), ", class by class:"),
          PerClassTable(rows.back(), images->class_names()));
    }
    if (context.events != nullptr) LOWBIT_RETURN_IF_ERROR(WriteEvents(context, rows.back(), step));
    return config_.mistakes() > 0 ? ShowMistakes(context, rows.back(), *images, step) : absl::OkStatus();
  }

 private:
  Split Source() const { return config_.images() == EvaluateStep::TEST ? Split::kTest : Split::kTrain; }

  // Of the images, `count` out of `size`.
  std::vector<int64_t> Order(int64_t count, int64_t size, uint64_t seed, const RunState& state) const {
    if (config_.images() == EvaluateStep::TEST) return SequentialOrder(count);
    return DrawUnseenImages(size, count, seed, kUnseenImages, state.seen_images);
  }

  // A heading, and a table that ends with a newline.
  static void Say(absl::string_view heading, absl::string_view table) { LogLine(absl::StrCat(heading, "\n\n", table)); }

  // Of a picture: "bits 4".
  static std::string Title(const RunContext& context, const EvaluationRow& row) {
    return row.variant.empty() ? row.label() : absl::StrCat(context.report->column, " ", row.label());
  }

  static absl::Status WriteEvents(const RunContext& context, const EvaluationRow& row, int64_t step) {
    const ClassificationReport& metrics = row.result.metrics;
    const std::pair<std::string, double> scalars[] = {
        {"evaluate/accuracy", metrics.top1},
        {absl::StrCat("evaluate/top-", metrics.k), metrics.topk},
        {"evaluate/precision", metrics.macro.precision},
        {"evaluate/recall", metrics.macro.recall},
        {"evaluate/F1", metrics.macro.f1},
    };
    for (const auto& [tag, value] : scalars) LOWBIT_RETURN_IF_ERROR(context.events->AddScalar(tag, step, value));
    const RgbImage confusion =
        ConfusionPicture(absl::StrFormat("%s: %.2f %% right", Title(context, row), 100 * metrics.top1),
                         row.result.confusion, context.report->class_names);
    return context.events->AddImage("evaluate/confusion", step, EncodePng(confusion), confusion.width(),
                                    confusion.height());
  }

  static absl::Status ShowMistakes(const RunContext& context, const EvaluationRow& row, const Dataset& images,
                                   int64_t step) {
    if (row.result.mistakes.empty()) {
      LogLine(absl::StrCat("evaluate ", row.label(), ": no mistakes"));
      return absl::OkStatus();
    }
    LOWBIT_ASSIGN_OR_RETURN(const RgbImage sheet, DrawMistakes(Title(context, row), row.result.mistakes, images));
    const std::string file = MistakesFile(context, row.label());
    const std::string path = JoinPath(context.folder, file);
    const std::string png = EncodePng(sheet);
    LOWBIT_RETURN_IF_ERROR(MakeDirs(context.folder));
    LOWBIT_RETURN_IF_ERROR(WriteFileAtomic(path, png));
    context.report->steps.back()["mistakes"] = file;
    Say(absl::StrCat("evaluate ", row.label(), ", most confident mistakes (", path, "):"),
        MistakesTable(row, images.class_names()));
    if (context.events == nullptr) return absl::OkStatus();
    return context.events->AddImage("evaluate/mistakes", step, png, sheet.width(), sheet.height());
  }

  const EvaluateStep config_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Step>> MakeEvaluateStep(const EvaluateStep& config) {
  if (config.max_images() < 0) {
    return FieldError("max_images", absl::StrCat("must be at least 0, got ", config.max_images()));
  }
  if (config.batch_size() < 1) {
    return FieldError("batch_size", absl::StrCat("must be at least 1, got ", config.batch_size()));
  }
  if (config.mistakes() < 0 || config.mistakes() > kMostMistakes) {
    return FieldError("mistakes", absl::StrCat("must be in [0, ", kMostMistakes, "], got ", config.mistakes()));
  }
  return std::make_unique<EvaluateStepImpl>(config);
}

}  // namespace lowbit
