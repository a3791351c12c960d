#include "quant/quantize_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <map>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

// Its scale says what it was shown: of a weight the first number, and with `moments` that plus the mean square of the
// first input; of an activation the maximum.
class Telling : public Quantizer {
 public:
  explicit Telling(bool moments) : moments_(moments) {}

  StatsRequest stats_request() const override {
    StatsRequest request;
    request.min_max = true;
    return request;
  }
  WeightStatsRequest weight_stats_request() const override {
    WeightStatsRequest request;
    request.moments = moments_;
    return request;
  }
  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsEverything(layer, role, bits);
  }

 private:
  static QuantParams Params(int bits, float scale) {
    QuantParams params;
    params.bits = bits;
    params.scale = {scale};
    params.zero_point = {0};
    return params;
  }
  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    EXPECT_EQ(view.input != nullptr, moments_);
    const double square = moments_ ? view.input->Gram()[0][0][0].item<double>() : 0;
    const QuantParams params = Params(view.bits, view.weight.data_ptr<float>()[0] + static_cast<float>(square));
    return QuantizedTensor{params, Quantize(view.weight, params)};
  }
  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView& view) const override {
    return Params(view.bits, view.statistics.max());
  }

  const bool moments_;
};

// input [3] -> a -> b
Model TwoLayers() {
  auto graph = Graph::Create({{"input", Input{3, 1, 1}, {}},
                              {"flat", Flatten{}, {0}},
                              {"a", Linear{3, 2, false}, {1}},
                              {"b", Linear{2, 2, false}, {2}}});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return Model{*std::move(graph), {{"a.weight", at::full({2, 3}, 2.0f)}, {"b.weight", at::full({2, 2}, 5.0f)}}};
}

TEST(QuantizeLayerTest, ShowsTheLayersOwnWeight) {
  const Model model = TwoLayers();
  const auto a = QuantizeLayerWeight(Telling(false), model, nullptr, 2, 4);
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_THAT(a->params.scale, ElementsAre(2));
  EXPECT_EQ(a->params.bits, 4);
  EXPECT_TRUE(at::equal(a->codes, at::full({2, 3}, 1, at::kInt)));
  EXPECT_THAT(QuantizeLayerWeight(Telling(false), model, nullptr, 3, 8)->params.scale, ElementsAre(5));
}

// b reads (3, 0) and (1, 0): a mean square of 5.
TEST(QuantizeLayerTest, ShowsWhatTheLayerReadsWhereItIsAskedFor) {
  const Model model = TwoLayers();
  std::map<std::string, InputStatistics> inputs;
  inputs.emplace("a", InputStatistics(Linear{3, 2, false}));
  inputs.emplace("b", InputStatistics(Linear{2, 2, false}));
  ASSERT_TRUE(inputs.at("a").Observe(at::full({1, 3}, 10.0f)).ok());
  ASSERT_TRUE(inputs.at("b").Observe(at::tensor({3.0f, 0.0f, 1.0f, 0.0f}).view({2, 2})).ok());
  EXPECT_THAT(QuantizeLayerWeight(Telling(true), model, &inputs, 3, 4)->params.scale, ElementsAre(10));
  EXPECT_THAT(QuantizeLayerWeight(Telling(true), model, &inputs, 2, 4)->params.scale, ElementsAre(102));
  EXPECT_THAT(QuantizeLayerWeight(Telling(false), model, &inputs, 3, 4)->params.scale, ElementsAre(5))
      << "not asked for";
  EXPECT_EQ(QuantizeLayerWeight(Telling(true), model, &inputs, 3, 12).status().message(),
            "must be 1 to 8, or 16; got 12");
}

TEST(QuantizeLayerTest, ShowsWhatTheLayerPutsOut) {
  const Model model = TwoLayers();
  std::map<std::string, TensorStatistics> statistics;
  for (const auto& [layer, largest] : std::map<std::string, float>{{"input", 4.0f}, {"a", 7.0f}}) {
    statistics.emplace(layer, TensorStatistics(Telling(false).stats_request()));
    ASSERT_TRUE(statistics.at(layer).Observe(at::tensor({largest, 1.0f}).view({1, 2})).ok());
  }
  const auto params = FitLayerActivation(Telling(false), model.graph, &statistics, 2, 3);
  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_THAT(params->scale, ElementsAre(7));
  EXPECT_EQ(params->bits, 3);
  EXPECT_THAT(FitLayerActivation(Telling(false), model.graph, &statistics, 0, 3)->scale, ElementsAre(4));
}

TEST(QuantizeLayerDeathTest, StatisticsMustBeThere) {
  const Model model = TwoLayers();
  std::map<std::string, InputStatistics> inputs;
  std::map<std::string, TensorStatistics> statistics;
  EXPECT_DEATH((void)QuantizeLayerWeight(Telling(true), model, nullptr, 2, 4), "no statistics of the input of a");
  EXPECT_DEATH((void)QuantizeLayerWeight(Telling(true), model, &inputs, 2, 4), "no statistics of the input of a");
  EXPECT_DEATH((void)FitLayerActivation(Telling(false), model.graph, &statistics, 3, 4), "no statistics of b");
}

}  // namespace
}  // namespace lowbit
