#include "quant/range_quantizer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <functional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

constexpr RangeQuantizer::Schemes kSymmetric{false, false, false};
constexpr RangeQuantizer::Schemes kAffine{false, true, true};
constexpr RangeQuantizer::Schemes kPerTensor{true, false, true};

// Answers with what a test says.
class Told : public RangeQuantizer {
 public:
  using Answer = std::function<Range(const RangeQuery&)>;
  Told(const Schemes& schemes, Answer answer) : RangeQuantizer(schemes), answer_(std::move(answer)) {}

 private:
  StatsRequest range_request() const override {
    StatsRequest request;
    request.moving_average = true;
    return request;
  }
  Range WeightRange(absl::Span<const float>, const RangeQuery& query) const override { return answer_(query); }
  Range ActivationRange(const TensorStatistics&, const RangeQuery& query) const override { return answer_(query); }

  const Answer answer_;
};

// Half the extremes.
Range Half(const RangeQuery& query) { return Scaled(query.extremes, 0.5); }

Range NotAsked(const RangeQuery&) {
  ADD_FAILURE() << "should not have been asked";
  return Range{};
}

QuantizedTensor QuantizeRows(const std::vector<float>& rows, int bits, const Quantizer& quantizer) {
  const int64_t columns = static_cast<int64_t>(rows.size()) / 2;
  const Layer layer{"fc", Linear{columns, 2, false}, {0}};
  return *quantizer.QuantizeWeight(WeightView{layer, at::tensor(rows).view({2, columns}), bits});
}

QuantParams Fit(const std::vector<float>& values, int bits, const Quantizer& quantizer) {
  TensorStatistics statistics(quantizer.stats_request());
  EXPECT_TRUE(statistics.Observe(at::tensor(values).view({1, -1})).ok());
  const Layer relu{"relu", Relu{}, {0}};
  return *quantizer.FitActivation(ActivationView{relu, statistics, bits});
}

TEST(RangeQuantizerTest, RequestsAreMerged) {
  const StatsRequest request = Told(kAffine, Half).stats_request();
  EXPECT_TRUE(request.min_max && request.mean_abs && request.moving_average);
  EXPECT_FALSE(request.histogram);
}

TEST(RangeQuantizerTest, EachChannelIsAskedFor) {
  const QuantizedTensor result = QuantizeRows({3, -1, 1, 0.2f, 0.6f, -0.3f}, 2, Told(kSymmetric, Half));
  EXPECT_TRUE(result.params.is_signed);
  EXPECT_THAT(result.params.scale, ElementsAre(1, 0.2f));  // 2 * 1.5 / 3, 2 * 0.3 / 3
  EXPECT_THAT(result.params.zero_point, ElementsAre(0, 0));
}

TEST(RangeQuantizerTest, OrTheWholeTensor) {
  const Told quantizer(kPerTensor, [](const RangeQuery& query) {
    EXPECT_EQ(query.extremes, (Range{-1, 3}));
    EXPECT_TRUE(query.symmetric);
    EXPECT_EQ(query.bits, 4);
    return query.extremes;
  });
  EXPECT_THAT(QuantizeRows({3, -1, 1, 0.2f, 0.6f, -0.3f}, 4, quantizer).params.scale, ElementsAre(0.4f));
}

TEST(RangeQuantizerTest, AffineGrids) {
  const QuantizedTensor result = QuantizeRows({4, -2, 1, 2, 6, 3}, 2, Told(kAffine, Half));
  EXPECT_FALSE(result.params.is_signed);
  EXPECT_THAT(result.params.scale, ElementsAre(1, 1));  // [-1, 2] and [0, 3]
  EXPECT_THAT(result.params.zero_point, ElementsAre(1, 0));
  const QuantParams params = Fit({4, -2, 1}, 2, Told(kAffine, Half));
  EXPECT_FALSE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(1));
  EXPECT_THAT(params.zero_point, ElementsAre(1));
}

TEST(RangeQuantizerTest, SymmetricActivationsUnlessOneSided) {
  const auto ask = [](bool symmetric) {
    return [symmetric](const RangeQuery& query) {
      EXPECT_EQ(query.symmetric, symmetric);
      return query.extremes;
    };
  };
  EXPECT_TRUE(Fit({-3, 1}, 2, Told(kSymmetric, ask(true))).is_signed);
  EXPECT_FALSE(Fit({0, 3}, 2, Told(kSymmetric, ask(false))).is_signed);
  const Told one_side_left(kSymmetric, [](const RangeQuery& query) { return Range{0, query.extremes.hi}; });
  const QuantParams params = Fit({-3, 3}, 2, one_side_left);
  EXPECT_FALSE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(1));
}

TEST(RangeQuantizerTest, ZerosAndOneBitAskNobody) {
  const Told quantizer(kAffine, NotAsked);
  EXPECT_THAT(QuantizeRows({0, 0, 0, 0}, 4, quantizer).params.scale, ElementsAre(1, 1));
  EXPECT_THAT(Fit({0, 0}, 4, quantizer).scale, ElementsAre(1));
  EXPECT_THAT(QuantizeRows({1, -2, 3, 5}, 1, quantizer).params.scale, ElementsAre(3, 8));
  EXPECT_THAT(Fit({-1, 3}, 1, quantizer).zero_point, ElementsAre(-0.5f));
  EXPECT_THAT(Fit({0, 4}, 1, quantizer).scale, ElementsAre(4));
  EXPECT_THAT(Fit({0, 4}, 1, quantizer).zero_point, ElementsAre(0));
}

TEST(RangeQuantizerTest, ExtremesStandInForNothing) {
  const Told quantizer(kAffine, [](const RangeQuery&) { return Range{}; });
  EXPECT_THAT(Fit({0, 15}, 4, quantizer).scale, ElementsAre(1));
  EXPECT_THAT(QuantizeRows({0, 15, 0, 30}, 4, quantizer).params.scale, ElementsAre(1, 2));
}

}  // namespace
}  // namespace lowbit
