#include "quant/range_quantizer.h"

#include <functional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/quantizer_testing.h"

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

TEST(RangeQuantizerTest, RequestsAreMerged) {
  const StatsRequest request = Told(kAffine, Half).stats_request();
  EXPECT_TRUE(request.min_max && request.mean_abs && request.moving_average);
  EXPECT_FALSE(request.histogram);
}

TEST(RangeQuantizerTest, EachChannelIsAskedFor) {
  const QuantizedTensor result = QuantizeRows(Told(kSymmetric, Half), {3, -1, 1, 0.2f, 0.6f, -0.3f}, 2, 2);
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
  EXPECT_THAT(QuantizeRows(quantizer, {3, -1, 1, 0.2f, 0.6f, -0.3f}, 2, 4).params.scale, ElementsAre(0.4f));
}

TEST(RangeQuantizerTest, AffineGrids) {
  const QuantizedTensor result = QuantizeRows(Told(kAffine, Half), {4, -2, 1, 2, 6, 3}, 2, 2);
  EXPECT_FALSE(result.params.is_signed);
  EXPECT_THAT(result.params.scale, ElementsAre(1, 1));  // [-1, 2] and [0, 3]
  EXPECT_THAT(result.params.zero_point, ElementsAre(1, 0));
  const QuantParams params = FitValues(Told(kAffine, Half), {4, -2, 1}, 2);
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
  EXPECT_TRUE(FitValues(Told(kSymmetric, ask(true)), {-3, 1}, 2).is_signed);
  EXPECT_FALSE(FitValues(Told(kSymmetric, ask(false)), {0, 3}, 2).is_signed);
  const Told one_side_left(kSymmetric, [](const RangeQuery& query) { return Range{0, query.extremes.hi}; });
  const QuantParams params = FitValues(one_side_left, {-3, 3}, 2);
  EXPECT_FALSE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(1));
}

TEST(RangeQuantizerTest, ZerosAndOneBitAskNobody) {
  const Told quantizer(kAffine, NotAsked);
  EXPECT_THAT(QuantizeRows(quantizer, {0, 0, 0, 0}, 2, 4).params.scale, ElementsAre(1, 1));
  EXPECT_THAT(FitValues(quantizer, {0, 0}, 4).scale, ElementsAre(1));
  EXPECT_THAT(QuantizeRows(quantizer, {1, -2, 3, 5}, 2, 1).params.scale, ElementsAre(3, 8));
  EXPECT_THAT(FitValues(quantizer, {-1, 3}, 1).zero_point, ElementsAre(-0.5f));
  EXPECT_THAT(FitValues(quantizer, {0, 4}, 1).scale, ElementsAre(4));
  EXPECT_THAT(FitValues(quantizer, {0, 4}, 1).zero_point, ElementsAre(0));
}

TEST(RangeQuantizerTest, ExtremesStandInForNothing) {
  const Told quantizer(kAffine, [](const RangeQuery&) { return Range{}; });
  EXPECT_THAT(FitValues(quantizer, {0, 15}, 4).scale, ElementsAre(1));
  EXPECT_THAT(QuantizeRows(quantizer, {0, 15, 0, 30}, 2, 4).params.scale, ElementsAre(1, 2));
}

}  // namespace
}  // namespace lowbit
