#include "quant/quantizer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <utility>

#include "base/field_error.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

// Returns what it is told to.
class Fixed : public Quantizer {
 public:
  QuantizedTensor weight;
  QuantParams activation;
  bool throws = false;

  StatsRequest stats_request() const override {
    StatsRequest request;
    request.min_max = true;
    return request;
  }
  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsEverything(layer, role, bits);
  }

 private:
  absl::StatusOr<QuantizedTensor> DoQuantizeWeight(const WeightView& view) const override {
    if (throws) at::matmul(at::zeros({2, 3}), at::zeros({2, 3}));
    EXPECT_TRUE(view.weight.is_contiguous());
    return weight;
  }
  absl::StatusOr<QuantParams> DoFitActivation(const ActivationView&) const override { return activation; }
};

class Empty : public Quantizer {
 public:
  absl::Status Supports(const Layer& layer, Role role, int bits) const override {
    return SupportsEverything(layer, role, bits);
  }
};

QuantParams Params(int bits) {
  QuantParams params;
  params.bits = bits;
  params.scale = {0.5f};
  params.zero_point = {0};
  return params;
}

Fixed GoodQuantizer() {
  Fixed quantizer;
  quantizer.weight = QuantizedTensor{Params(4), at::full({2, 3}, 7, at::kInt)};
  quantizer.activation = Params(4);
  return quantizer;
}

Layer LinearLayer() { return Layer{"fc", Linear{3, 2, true}, {0}}; }

std::string WeightError(const Quantizer& quantizer, const at::Tensor& weight, const Layer& layer = LinearLayer(),
                        int bits = 4) {
  const auto result = quantizer.QuantizeWeight(WeightView{layer, weight, bits});
  return result.ok() ? "OK" : std::string(result.status().message());
}

TensorStatistics Statistics(StatsRequest request, const at::Tensor& x) {
  TensorStatistics statistics(request);
  EXPECT_TRUE(statistics.Observe(x).ok());
  return statistics;
}

TEST(QuantizerTest, PassesOnWhatIsValid) {
  const Fixed quantizer = GoodQuantizer();
  const auto result = quantizer.QuantizeWeight(WeightView{LinearLayer(), at::full({2, 3}, 1.0f), 4});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->params, Params(4));
  EXPECT_EQ(WeightError(quantizer, at::full({3, 2}, 1.0f).t()), "OK") << "any memory order";
}

TEST(QuantizerTest, RefusesBadWeightsByName) {
  const Fixed quantizer = GoodQuantizer();
  at::Tensor weight = at::full({2, 3}, 1.0f);
  weight[0][1] = std::numeric_limits<float>::quiet_NaN();
  weight[1][1] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(WeightError(quantizer, weight), "fc.weight: 2 of 6 values are NaN or infinite");
  EXPECT_EQ(WeightError(quantizer, at::full({2, 4}, 1.0f)), "fc.weight: expected Float [2, 3], got Float [2, 4]");
  EXPECT_EQ(WeightError(quantizer, at::full({2, 3}, 1, at::kInt)), "fc.weight: expected Float [2, 3], got Int [2, 3]");
  EXPECT_EQ(WeightError(quantizer, at::Tensor()), "fc.weight: expected Float [2, 3], got none");
}

TEST(QuantizerTest, AsksSupportsFirst) {
  const Fixed quantizer = GoodQuantizer();
  const auto result = quantizer.QuantizeWeight(WeightView{LinearLayer(), at::full({2, 3}, 1.0f), 9});
  EXPECT_EQ(ErrorField(result.status()), "bits");
  const Layer relu{"relu", Relu{}, {0}};
  EXPECT_EQ(WeightError(quantizer, at::full({2, 3}, 1.0f), relu),
            "quantizes the weights of Conv2d and Linear layers, and relu is a Relu");
}

TEST(QuantizerTest, CatchesInvalidCodes) {
  Fixed quantizer = GoodQuantizer();
  const std::string before = "quantizer \"\" returned an invalid weight quantization for fc: ";
  const at::Tensor weight = at::full({2, 3}, 1.0f);
  quantizer.weight.codes[1][2] = 8;
  EXPECT_EQ(WeightError(quantizer, weight), before + "codes must be in [-8, 7], got 7 to 8");
  quantizer.weight.codes = at::full({6}, 1, at::kInt);
  EXPECT_EQ(WeightError(quantizer, weight), before + "expected codes Int [2, 3], got Int [6]");
  quantizer = GoodQuantizer();
  quantizer.weight.params = Params(5);
  EXPECT_EQ(WeightError(quantizer, weight), before + "asked for 4 bits, got 5");
  quantizer.weight.params = Params(4);
  quantizer.weight.params.scale = quantizer.weight.params.zero_point = {1, 1, 1};
  EXPECT_EQ(WeightError(quantizer, weight), before + "expected 1 or 2 scales, got 3");
  quantizer.weight.params.scale = {0};
  quantizer.weight.params.zero_point = {0};
  const auto result = quantizer.QuantizeWeight(WeightView{LinearLayer(), weight, 4});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(result.status().message(), before + "scale[0] must be finite and above 0, got 0");
}

TEST(QuantizerTest, CatchesTheExceptionsOfLibTorch) {
  Fixed quantizer = GoodQuantizer();
  quantizer.throws = true;
  const auto result = quantizer.QuantizeWeight(WeightView{LinearLayer(), at::full({2, 3}, 1.0f), 4});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
}

TEST(QuantizerTest, ActivationsNeedStatistics) {
  const Fixed quantizer = GoodQuantizer();
  const Layer relu{"relu", Relu{}, {0}};
  const TensorStatistics good = Statistics(quantizer.stats_request(), at::full({1, 2}, 1.0f));
  EXPECT_TRUE(quantizer.FitActivation(ActivationView{relu, good, 4}).ok());
  const TensorStatistics none(quantizer.stats_request());
  EXPECT_EQ(quantizer.FitActivation(ActivationView{relu, none, 4}).status().message(),
            "relu: no calibration image was observed, so there is nothing to fit");
  const TensorStatistics other = Statistics(StatsRequest(), at::full({1, 2}, 1.0f));
  EXPECT_EQ(quantizer.FitActivation(ActivationView{relu, other, 4}).status().message(),
            "relu: the calibration did not gather what quantizer \"\" asks for");
  EXPECT_EQ(ErrorField(quantizer.FitActivation(ActivationView{relu, good, 0}).status()), "bits");
}

TEST(QuantizerTest, ActivationsHaveOneScale) {
  Fixed quantizer = GoodQuantizer();
  quantizer.activation.scale = quantizer.activation.zero_point = {1, 1};
  const Layer relu{"relu", Relu{}, {0}};
  const TensorStatistics statistics = Statistics(quantizer.stats_request(), at::full({1, 2}, 1.0f));
  EXPECT_EQ(quantizer.FitActivation(ActivationView{relu, statistics, 4}).status().message(),
            "quantizer \"\" returned an invalid activation quantization for relu: expected 1 scale, got 2");
}

TEST(QuantizerTest, WithoutCodeItIsUnimplemented) {
  const Empty quantizer;
  EXPECT_TRUE(quantizer.stats_request().empty());
  const auto weight = quantizer.QuantizeWeight(WeightView{LinearLayer(), at::full({2, 3}, 1.0f), 4});
  EXPECT_EQ(weight.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(weight.status().message(), "quantizer \"\" says that it supports the weight of fc, but has no code for it");
  const TensorStatistics statistics = Statistics(StatsRequest(), at::full({1, 2}, 1.0f));
  EXPECT_EQ(quantizer.FitActivation(ActivationView{LinearLayer(), statistics, 4}).status().code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace lowbit
