#include "sensitivity/measure.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/max.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "evaluation/answer_change.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/resnet.h"
#include "nlohmann/json.hpp"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

// Whatever the tensor: signed codes with this scale.
class FixedScale : public Quantizer {
 public:
  explicit FixedScale(float scale) : scale_(scale) {}
  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsEverything(layer, role, bits);
  }

 private:
  QuantParams Params(int bits) const { return {bits, true, {scale_}, {0}, {}, {}}; }
  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    return QuantizedTensor{Params(view.bits), Quantize(view.weight, Params(view.bits))};
  }
  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const override { return Params(view.bits); }

  const float scale_;
};

// Over the largest magnitude of the tensor, or up to the largest value where there is none below 0.
class WholeRange : public Quantizer {
 public:
  StatsRequest stats_request() const override {
    StatsRequest request;
    request.min_max = true;
    return request;
  }
  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsEverything(layer, role, bits);
  }

 private:
  static QuantParams Params(float min, float max, int bits) {
    const float top = static_cast<float>((1 << bits) - 1);
    if (min >= 0) return {bits, false, {max / top}, {0}, {}, {}};
    return {bits, true, {2 * std::max(-min, max) / top}, {0}, {}, {}};
  }
  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    const float largest = at::max(at::abs(view.weight)).item<float>();
    const QuantParams params = Params(-largest, largest, view.bits);
    return QuantizedTensor{params, Quantize(view.weight, params)};
  }
  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const override {
    return Params(view.statistics.min(), view.statistics.max(), view.bits);
  }
};

std::map<std::string, TensorStatistics> Look(const Model& model, const at::Tensor& images) {
  class See : public LayerHook {
   public:
    explicit See(const Graph& graph) : graph_(graph) {}
    at::Tensor OnOutput(int layer, at::Tensor y) override {
      StatsRequest request;
      request.min_max = request.mean_abs = request.histogram = true;
      TensorStatistics& statistics = found.emplace(graph_.layer(layer).name, request).first->second;
      EXPECT_TRUE(statistics.Observe(y).ok());
      return y;
    }
    std::map<std::string, TensorStatistics> found;

   private:
    const Graph& graph_;
  };
  See see(model.graph);
  const auto executor = Executor::Create(model.graph, model.parameters);
  EXPECT_TRUE(executor.ok()) << executor.status();
  EXPECT_TRUE(executor->Forward(images, &see).ok());
  return see.found;
}

std::vector<int> LayersWithWeights(const Graph& graph) {
  std::vector<int> layers;
  for (int i = 0; i < graph.size(); ++i) {
    if (HasWeight(graph.layer(i).op)) layers.push_back(i);
  }
  return layers;
}

SensitivityReport Measure(const Model& model, const SensitivityOptions& options,
                          const std::map<std::string, TensorStatistics>& statistics,
                          const std::vector<at::Tensor>& batches) {
  auto measure = SensitivityMeasure::Create(model, &statistics, nullptr, options);
  EXPECT_TRUE(measure.ok()) << measure.status();
  int64_t experiments = 0;
  for (const at::Tensor& images : batches) {
    const absl::Status status = (*measure)->Observe(images, [&] {
      ++experiments;
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(experiments, (*measure)->experiments() * static_cast<int64_t>(batches.size()));
  auto report = (*measure)->Finish();
  EXPECT_TRUE(report.ok()) << report.status();
  return *std::move(report);
}

// Two pixels, two classes.
Model OneLinear() {
  const auto graph =
      Graph::Create({{"input", Input{2, 1, 1}, {}}, {"flatten", Flatten{}, {0}}, {"fc", Linear{2, 2, false}, {1}}});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return {*graph, {{"fc.weight", at::tensor({0.75f, 0.125f, -0.5f, 0.25f}).view({2, 2})}}};
}

// KL of two classes whose logits differ by `before` and then by `after`.
double BinaryKl(double before, double after) {
  const double p = 1 / (1 + std::exp(-before));
  const double q = 1 / (1 + std::exp(-after));
  return p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q));
}

TEST(SensitivityMeasureTest, ByHand) {
  const Model model = OneLinear();
  SensitivityOptions options;
  options.weights = std::make_shared<FixedScale>(0.25f);     // at 2 bits -0.5 to 0.25
  options.activations = std::make_shared<FixedScale>(0.5f);  // at 2 bits -1 to 0.5
  options.bits = {2};
  options.layers = {2};
  const at::Tensor images = at::tensor({1.0f, -0.5f}).view({1, 2, 1, 1});
  const SensitivityReport report = Measure(model, options, Look(model, images), {images});

  ASSERT_EQ(report.layers.size(), 1u);
  const LayerSensitivity& layer = report.layers[0];
  EXPECT_EQ(layer.name, "fc");
  EXPECT_EQ(layer.reads, "flatten");
  EXPECT_EQ(layer.weights, 4);
  EXPECT_EQ(layer.macs, 4);
  EXPECT_EQ(layer.weight_min, -0.5f);
  EXPECT_EQ(layer.weight_max, 0.75f);
  EXPECT_EQ(layer.activation_min, -0.5f);
  EXPECT_EQ(layer.activation_max, 1);

  // [0.75, 0.125; -0.5, 0.25] becomes [0.25, 0; -0.5, 0.25]; only 0.75 is further than 0.125 from its level's end.
  const LayerAtWidth& width = layer.widths[0];
  EXPECT_NEAR(width.weight_sqnr_db, 10 * std::log10(0.890625 / 0.265625), 1e-6);
  EXPECT_EQ(width.weight->clipped, 0.25);
  EXPECT_EQ(width.weight->low, -0.5f);
  EXPECT_EQ(width.weight->high, 0.25f);
  // (1, -0.5) becomes (0.5, -0.5).
  EXPECT_EQ(width.activation->clipped, 0.5);

  // Float answers 0.6875, -0.625; with the weight 0.25, -0.625; with the activation 0.3125, -0.375; with both 0.125,
  // -0.375.
  EXPECT_NEAR(width.weight_alone->kl, BinaryKl(1.3125, 0.875), 1e-7);
  EXPECT_NEAR(width.activation_alone->kl, BinaryKl(1.3125, 0.6875), 1e-7);
  EXPECT_NEAR(width.both->kl, BinaryKl(1.3125, 0.5), 1e-7);
  EXPECT_EQ(width.both->same_top1, 1);
  const double signal = 0.6875 * 0.6875 + 0.625 * 0.625;
  EXPECT_NEAR(width.weight_alone->output_sqnr_db, 10 * std::log10(signal / (0.4375 * 0.4375)), 1e-5);
  EXPECT_NEAR(width.both->output_sqnr_db, 10 * std::log10(signal / (0.5625 * 0.5625 + 0.25 * 0.25)), 1e-5);
  EXPECT_NEAR(width.both->output_cosine,
              (0.6875 * 0.125 + 0.625 * 0.375) / std::sqrt(signal * (0.125 * 0.125 + 0.375 * 0.375)), 1e-6);
}

TEST(SensitivityMeasureTest, WeightsAloneNeedNoStatistics) {
  const Model model = OneLinear();
  SensitivityOptions options;
  options.weights = std::make_shared<FixedScale>(0.25f);
  options.bits = {8, 2};
  options.layers = {2};
  const SensitivityReport report = Measure(model, options, {}, {at::tensor({1.0f, -0.5f}).view({1, 2, 1, 1})});
  const LayerAtWidth& eight = report.layers[0].widths[0];
  EXPECT_FALSE(eight.activation.has_value());
  EXPECT_FALSE(eight.both.has_value());
  // 0.125 is a tie between 0 and 0.25, of which 0 is even.
  EXPECT_NEAR(eight.weight_sqnr_db, 10 * std::log10(0.890625 / 0.015625), 1e-6);
  EXPECT_EQ(eight.weight->clipped, 0);
  EXPECT_EQ(&eight.whole(), &*eight.weight_alone);
}

// With a shortcut that reads what a convolution reads.
Model SmallResnet() {
  BasicBlockResnetOptions options;
  options.blocks = {1, 1};
  options.widths = {4, 8};
  options.stem_padding = 1;
  auto graph = BuildBasicBlockResnet(options);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return {*graph, InitParameters(*graph, 3)};
}

SensitivityOptions Both(const Model& model) {
  SensitivityOptions options;
  options.weights = std::make_shared<WholeRange>();
  options.activations = std::make_shared<WholeRange>();
  options.bits = {8, 4, 2};
  options.layers = LayersWithWeights(model.graph);
  return options;
}

TEST(SensitivityMeasureTest, IsWhatTheWholeNetworkDoesWithThatLayerQuantized) {
  const Model model = SmallResnet();
  const SensitivityOptions options = Both(model);
  const at::Tensor images = at::rand({6, 3, 32, 32});
  const auto statistics = Look(model, images);
  // In two batches.
  const SensitivityReport report =
      Measure(model, options, statistics, {images.narrow(0, 0, 4), images.narrow(0, 4, 2)});
  ASSERT_EQ(report.layers.size(), options.layers.size());
  const auto executor = Executor::Create(model.graph, model.parameters);
  const at::Tensor logits = *executor->Forward(images);
  std::set<std::string> sharing;
  for (const LayerSensitivity& layer : report.layers) {
    if (!layer.sharing.empty()) sharing.insert(absl::StrCat(layer.name, " ", layer.sharing[0]));
    for (const LayerAtWidth& width : layer.widths) {
      for (const bool with_activation : {false, true}) {
        QuantizedModel quantized = *ToQuantizedModel(model);
        const Layer& decided = model.graph.layer(layer.layer);
        const at::Tensor& weight = model.parameters.at(decided.name + ".weight");
        ASSERT_TRUE(
            SetWeight(decided.name, *options.weights->QuantizeWeight({decided, weight, width.bits}), &quantized).ok());
        const Layer& producer = model.graph.layer(layer.producer);
        if (with_activation) {
          quantized.activations[producer.name] =
              *options.activations->FitActivation({producer, statistics.at(producer.name), width.bits});
        }
        FakeQuantHook hook(quantized);
        const auto changed = Executor::Create(model.graph, *FakeQuantParameters(quantized));
        AnswerChange change;
        ASSERT_TRUE(change.Add(logits, *changed->Forward(images, &hook)).ok());
        const Effect& effect = with_activation ? *width.both : *width.weight_alone;
        EXPECT_NEAR(effect.kl, change.kl(), 1e-6 + 1e-3 * change.kl()) << layer.name << " " << width.bits;
        EXPECT_EQ(effect.same_top1, change.same_top1()) << layer.name << " " << width.bits;
      }
    }
  }
  EXPECT_THAT(sharing,
              testing::ElementsAre("layer2.0.conv1 layer2.0.shortcut.0", "layer2.0.shortcut.0 layer2.0.conv1"));
}

TEST(SensitivityMeasureTest, HarmFallsAsTheWidthRises) {
  const Model model = SmallResnet();
  const at::Tensor images = at::rand({8, 3, 32, 32});
  const SensitivityReport report = Measure(model, Both(model), Look(model, images), {images});
  double kl[3] = {};
  for (const LayerSensitivity& layer : report.layers) {
    for (size_t i = 0; i < 3; ++i) kl[i] += layer.widths[i].both->kl;
    EXPECT_GT(layer.widths[0].weight_sqnr_db, layer.widths[1].weight_sqnr_db + 20);  // 6 dB a bit
    EXPECT_GT(layer.widths[1].weight_sqnr_db, layer.widths[2].weight_sqnr_db + 8);
  }
  EXPECT_LT(10 * kl[0], kl[1]);
  EXPECT_LT(2 * kl[1], kl[2]);
}

TEST(SensitivityMeasureTest, ALayerMadeFragileComesOutOnTop) {
  Model model = SmallResnet();
  // A large weight on a channel of the images that is always 0 changes nothing but the grid, which all weights share.
  at::Tensor weight = model.parameters.at("conv1.weight").clone();
  weight[0][2][0][0] = 500;
  model.parameters["conv1.weight"] = weight;
  at::Tensor images = at::rand({8, 3, 32, 32});
  images.select(1, 2).zero_();
  SensitivityOptions options = Both(model);
  options.bits = {4};
  const SensitivityReport report = Measure(model, options, Look(model, images), {images});
  const auto order = report.ByHarm();
  EXPECT_EQ(order[0]->name, "conv1");
  EXPECT_GT(order[0]->widths[0].both->kl, 3 * order[1]->widths[0].both->kl);
  // All else is rounded to 0.
  EXPECT_NEAR(order[0]->widths[0].weight_alone->output_sqnr_db, 0, 1e-9);
}

TEST(SensitivityMeasureTest, SomeLayersOnly) {
  const Model model = SmallResnet();
  SensitivityOptions options = Both(model);
  options.layers = {model.graph.Find("layer2.0.conv2")};
  const at::Tensor images = at::rand({4, 3, 32, 32});
  const SensitivityReport report = Measure(model, options, Look(model, images), {images});
  ASSERT_EQ(report.layers.size(), 1u);
  const SensitivityReport all = Measure(model, Both(model), Look(model, images), {images});
  for (const LayerSensitivity& layer : all.layers) {
    if (layer.name != "layer2.0.conv2") continue;
    EXPECT_EQ(layer.widths[2].both->kl, report.layers[0].widths[2].both->kl);
  }
}

TEST(SensitivityMeasureTest, ANetworkOfNaNsIsAnError) {
  Model model = OneLinear();
  SensitivityOptions options;
  options.weights = std::make_shared<FixedScale>(0.25f);
  options.bits = {2};
  options.layers = {2};
  auto measure = SensitivityMeasure::Create(model, nullptr, nullptr, options);
  ASSERT_TRUE(measure.ok()) << measure.status();
  const at::Tensor images = at::tensor({std::numeric_limits<float>::infinity(), 0.0f}).view({1, 2, 1, 1});
  EXPECT_THAT(std::string((*measure)->Observe(images, [] { return absl::OkStatus(); }).message()),
              testing::HasSubstr("NaN or infinite"));
}

TEST(SensitivityJsonTest, HoldsWhatWasMeasured) {
  const Model model = OneLinear();
  SensitivityOptions options;
  options.weights = std::make_shared<FixedScale>(0.125f);
  options.bits = {8, 2};
  options.layers = {2};
  const SensitivityReport report = Measure(model, options, {}, {at::tensor({1.0f, -0.5f}).view({1, 2, 1, 1})});
  const auto json = nlohmann::json::parse(SensitivityJson(report));
  EXPECT_EQ(json["bits"], (std::vector<int>{8, 2}));
  EXPECT_EQ(json["activation_quantizer"], "float");
  EXPECT_EQ(json["layers"][0]["layer"], "fc");
  // Multiples of 0.125: nothing changes, and the ratio to no noise is no number.
  EXPECT_TRUE(json["layers"][0]["widths"][0]["weight"]["sqnr_db"].is_null());
  EXPECT_EQ(json["layers"][0]["widths"][0]["weight_alone"]["kl"], 0);
  EXPECT_EQ(json["layers"][0]["widths"][1]["weight"]["clipped"], 0.75);
}

}  // namespace
}  // namespace lowbit
