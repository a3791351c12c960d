#include "quant/weight_grids.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <mutex>
#include <vector>

#include "base/field_error.h"
#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

constexpr WeightScheme kPerChannel{/*per_tensor=*/false, /*affine=*/false};
constexpr WeightScheme kPerTensor{/*per_tensor=*/true, /*affine=*/false};
constexpr WeightScheme kAffine{/*per_tensor=*/false, /*affine=*/true};

Range WholeRange(absl::Span<const float>, const RangeQuery& query) { return query.extremes; }

// Two output channels.
at::Tensor Weight() { return at::tensor({0.5f, -1.5f, 1.0f, 0.0f, 3.0f, 1.0f}).view({2, 3}); }

// Four bits, symmetric: 2 * 1.5 / 15 and 2 * 3 / 15. Affine: 2.5 / 15 with -1.5 nearest to code 9, and 3 / 15 from 0
// on.
TEST(WeightGridsTest, HandComputed) {
  QuantParams params = MakeWeightGrids(Weight(), 4, kPerChannel, WholeRange);
  EXPECT_EQ(params.bits, 4);
  EXPECT_TRUE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(0.2f, 0.4f));
  EXPECT_THAT(params.zero_point, ElementsAre(0, 0));
  params = MakeWeightGrids(Weight(), 4, kPerTensor, WholeRange);
  EXPECT_THAT(params.scale, ElementsAre(0.4f));
  params = MakeWeightGrids(Weight(), 4, kAffine, WholeRange);
  EXPECT_FALSE(params.is_signed);
  EXPECT_THAT(params.scale, ElementsAre(static_cast<float>(2.5 / 15), 0.2f));
  EXPECT_THAT(params.zero_point, ElementsAre(9, 0));
}

// The mean magnitudes are 1 and 4/3, and 7/6 over all; nobody is asked for a range.
TEST(WeightGridsTest, OneBitIsTheMeanMagnitude) {
  const FindWeightRange nobody = [](absl::Span<const float>, const RangeQuery&) -> Range {
    ADD_FAILURE() << "asked";
    return {};
  };
  QuantParams params = MakeWeightGrids(Weight(), 1, kAffine, nobody);
  EXPECT_THAT(params.scale, ElementsAre(2, static_cast<float>(8.0 / 3)));
  EXPECT_THAT(params.zero_point, ElementsAre(-0.5f, -0.5f));
  params = MakeWeightGrids(Weight(), 1, kPerTensor, nobody);
  EXPECT_THAT(params.scale, ElementsAre(testing::FloatEq(7.0f / 3)));
}

TEST(WeightGridsTest, AsksForTheRangeOfEachChannel) {
  std::mutex mutex;
  int asked = 0;
  const auto half = [&](absl::Span<const float> weights, const RangeQuery& query) {
    const std::lock_guard<std::mutex> lock(mutex);
    ++asked;
    EXPECT_EQ(weights.size(), 3u);
    EXPECT_EQ(query.bits, 3);
    EXPECT_TRUE(query.symmetric);
    EXPECT_EQ(query.extremes, weights[0] == 0.5f ? (Range{-1.5f, 1}) : (Range{0, 3}));
    return Scaled(query.extremes, 0.5);
  };
  const QuantParams params = MakeWeightGrids(Weight(), 3, kPerChannel, half);
  EXPECT_EQ(asked, 2);
  EXPECT_THAT(params.scale, ElementsAre(1.5f / 7, 3.0f / 7));
}

TEST(WeightGridsTest, WhereNothingRemains) {
  const auto nothing = [](absl::Span<const float>, const RangeQuery&) { return Range{0, 0}; };
  EXPECT_EQ(MakeWeightGrids(Weight(), 4, kAffine, nothing), MakeWeightGrids(Weight(), 4, kAffine, WholeRange));
  const FindWeightRange nobody = [](absl::Span<const float>, const RangeQuery&) -> Range {
    ADD_FAILURE() << "asked";
    return {};
  };
  EXPECT_THAT(MakeWeightGrids(at::zeros({2, 3}), 4, kPerChannel, nobody).scale, ElementsAre(1, 1));
}

struct Options {
  double p_ = 2;
  int candidates_ = 20;
  RangeOptions::Granularity granularity_ = RangeOptions::PER_CHANNEL;
  RangeOptions::Scheme scheme_ = RangeOptions::SYMMETRIC;

  double p() const { return p_; }
  int candidates() const { return candidates_; }
  RangeOptions::Granularity weight_granularity() const { return granularity_; }
  RangeOptions::Scheme weight_scheme() const { return scheme_; }
};

TEST(SearchedGridsTest, AreThoseOverTheRangesOfTheSearch) {
  at::Tensor weight = at::empty({4, 50}, at::kFloat);
  Rng rng({1});
  for (int64_t i = 0; i < weight.numel(); ++i) weight.data_ptr<float>()[i] = static_cast<float>(rng.Normal() + 0.3);
  const auto search = RangeSearch::Create(2, 20);
  ASSERT_TRUE(search.ok());
  const auto find = [&](absl::Span<const float> weights, const RangeQuery& query) {
    return search->OfWeights(weights, query);
  };
  for (const bool per_tensor : {false, true}) {
    for (const bool affine : {false, true}) {
      Options options;
      options.granularity_ = per_tensor ? RangeOptions::PER_TENSOR : RangeOptions::PER_CHANNEL;
      options.scheme_ = affine ? RangeOptions::AFFINE : RangeOptions::SYMMETRIC;
      const auto grids = SearchedGrids::Create(options);
      ASSERT_TRUE(grids.ok()) << grids.status();
      for (const int bits : {1, 2, 4}) {
        EXPECT_EQ(grids->Of(weight, bits), MakeWeightGrids(weight, bits, WeightScheme{per_tensor, affine}, find))
            << bits << " bits, per tensor " << per_tensor << ", affine " << affine;
      }
    }
  }
}

TEST(SearchedGridsTest, RefusesOptions) {
  Options options;
  options.p_ = 0;
  EXPECT_EQ(ErrorField(SearchedGrids::Create(options).status()), "p");
  options.p_ = 2;
  options.candidates_ = 1;
  EXPECT_EQ(ErrorField(SearchedGrids::Create(options).status()), "candidates");
}

}  // namespace
}  // namespace lowbit
