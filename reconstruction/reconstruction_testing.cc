#include "reconstruction/reconstruction_testing.h"

#include <ATen/TensorOperators.h>

#include <map>

#include "learning/learning_testing.h"
#include "model/executor.h"
#include "model/model_testing.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "reconstruction/reconstruct_defaults.h"

namespace lowbit {
namespace {

class Largest : public LayerHook {
 public:
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    of_layer[layer] = y.max().item<float>();
    return y;
  }
  std::map<int, float> of_layer;
};

}  // namespace

Model SmallModel() { return RandomModel(SmallResidualGraph(6, 4), 30, 0.25); }

at::Tensor Images(int64_t count, uint64_t seed) {
  return Random({count, 1, 1, 1}, seed)
      .add(Random({count, 3, 1, 1}, seed + 1).mul(0.5))
      .add(Random({count, 1, 6, 6}, seed + 2).mul(0.3))
      .add(Random({count, 3, 6, 6}, seed + 3).mul(0.2));
}

QuantizedModel Nearest(const Model& model, const at::Tensor& images) {
  QuantizedModel quantized = *ToQuantizedModel(model);
  for (const std::string layer : {"conv1", "conv2", "conv3", "fc"}) {
    const at::Tensor& weight = model.parameters.at(layer + ".weight");
    std::vector<float> scale;
    for (int64_t c = 0; c < weight.size(0); ++c) scale.push_back(0.3f * weight[c].abs().max().item<float>());
    const QuantParams params = Params(3, true, scale);
    EXPECT_TRUE(SetWeight(layer, {params, Quantize(weight, params)}, &quantized).ok());
  }
  Largest largest;
  EXPECT_TRUE(Executor::Create(model.graph, model.parameters)->Forward(images, &largest).ok());
  for (const int layer : {2, 4, 7}) {
    quantized.activations[model.graph.layer(layer).name] = Params(4, false, {0.8f * largest.of_layer[layer] / 15});
  }
  quantized.activations["in"] = Params(8, true, {0.03f});
  return quantized;
}

ReconstructConfig Quick(ReconstructConfig::Preset preset, int iterations) {
  ReconstructConfig config;
  config.set_preset(preset);
  config.set_num_images(96);
  config.set_batch_size(16);
  config.set_iterations(iterations);
  config.set_rounding_rate(preset == ReconstructConfig::FLEXROUND ? 0.002 : 0.02);
  if (preset != ReconstructConfig::FLEXROUND) config.set_regularization(0.003);  // of few weights
  if (preset == ReconstructConfig::BRECQ) config.set_activation_iterations(iterations / 4);
  SpellOutReconstructDefaults(&config);
  return config;
}

ReconstructionCallbacks Quiet() {
  return {[](size_t, const BlockProgress&) { return absl::OkStatus(); },
          [](const ReconstructionState&) { return absl::OkStatus(); }};
}

std::string Bytes(const QuantizedModel& model) { return *SerializeQuantizedModel(model); }

void ExpectSameReports(const std::vector<BlockReport>& a, const std::vector<BlockReport>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_EQ(a[i].start_error, b[i].start_error);
    EXPECT_EQ(a[i].end_error, b[i].end_error);
    EXPECT_EQ(a[i].steps, b[i].steps);
    EXPECT_EQ(a[i].roundings, b[i].roundings);
    EXPECT_EQ(a[i].undecided, b[i].undecided);
    EXPECT_EQ(a[i].flipped, b[i].flipped);
    EXPECT_EQ(a[i].losses, b[i].losses);
    EXPECT_EQ(a[i].fallback, b[i].fallback);
  }
}

}  // namespace lowbit
