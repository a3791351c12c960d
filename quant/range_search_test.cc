#include "quant/range_search.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/field_error.h"
#include "base/random.h"
#include "gtest/gtest.h"
#include "quant/range_error.h"

namespace lowbit {
namespace {

RangeSearch Search(double p, int candidates) {
  const auto search = RangeSearch::Create(p, candidates);
  EXPECT_TRUE(search.ok()) << search.status();
  return *search;
}

// So many ones, and a 6.
std::vector<float> OnesAndASix(int ones) {
  std::vector<float> values(static_cast<size_t>(ones), 1.0f);
  values.push_back(6);
  return values;
}

TensorStatistics Observe(const std::vector<float>& values) {
  StatsRequest request;
  request.min_max = request.histogram = true;
  TensorStatistics statistics(request);
  EXPECT_TRUE(statistics.Observe(at::tensor(values).view({1, -1})).ok());
  return statistics;
}

std::vector<float> Normal(int count, double mean, uint64_t seed) {
  Rng rng({seed});
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(rng.Normal() + mean));
  return values;
}

Range Extremes(const std::vector<float>& values) {
  const auto [lo, hi] = std::minmax_element(values.begin(), values.end());
  return Range{std::min(*lo, 0.0f), std::max(*hi, 0.0f)};
}

// Two bits over [0, 6] are 0, 2, 4, 6, with the 1 off by 1 (half a step goes to the even code); over [0, 3] they are 0,
// 1, 2, 3, with the 6 off by 3. So it is n ones against 3^p.
TEST(RangeSearchTest, HandComputed) {
  const RangeQuery query{{0, 6}, /*symmetric=*/false, 2};
  EXPECT_EQ(Search(2, 2).OfWeights(OnesAndASix(10), query), (Range{0, 3}));
  EXPECT_EQ(Search(2, 2).OfWeights(OnesAndASix(8), query), (Range{0, 6}));
  EXPECT_EQ(Search(1, 2).OfWeights(OnesAndASix(4), query), (Range{0, 3}));
  EXPECT_EQ(Search(1, 2).OfWeights(OnesAndASix(2), query), (Range{0, 6}));
  EXPECT_EQ(Search(2, 2).OfActivation(Observe(OnesAndASix(11)), query), (Range{0, 3}));
  EXPECT_EQ(Search(2, 2).OfActivation(Observe(OnesAndASix(7)), query), (Range{0, 6}));
}

// -1, and ones with a 6 as above: the lower end stays, the upper one moves by itself. Over [-1, 2] the codes are -1, 0,
// 1, 2, and the 6 costs 16.
TEST(RangeSearchTest, EachEndByItself) {
  std::vector<float> values = OnesAndASix(40);
  values.insert(values.end(), 20, -1.0f);
  EXPECT_EQ(Search(2, 3).OfWeights(values, RangeQuery{{-1, 6}, /*symmetric=*/false, 2}), (Range{-1, 2}));
}

// Nothing that was to be tried has a smaller error.
TEST(RangeSearchTest, NoFractionIsBetter) {
  constexpr int kCandidates = 20;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const std::vector<float> values = Normal(200, 0.4 * static_cast<double>(seed), seed);
    const Range extremes = Extremes(values);
    for (const int bits : {2, 4}) {
      for (const bool symmetric : {false, true}) {
        const auto error = [&](const Range& range) {
          return GridError(values, MakeGrid(range, symmetric, bits), 2.4, Magnitude(extremes));
        };
        const Range found = Search(2.4, kCandidates).OfWeights(values, RangeQuery{extremes, symmetric, bits});
        Range best = extremes;
        for (int i = kCandidates; i > 0; --i) {
          const Range scaled = Scaled(extremes, static_cast<double>(i) / kCandidates);
          if (error(scaled) < error(best)) best = scaled;
        }
        if (symmetric) {
          EXPECT_EQ(found, best) << bits << " bits, seed " << seed;
          continue;
        }
        EXPECT_LE(error(found), error(best)) << bits << " bits, seed " << seed;
        for (int i = kCandidates; i >= 0; --i) {
          const Range scaled = Scaled(extremes, static_cast<double>(i) / kCandidates);
          EXPECT_LE(error(found), error({found.lo, scaled.hi})) << bits << " bits, seed " << seed;
          EXPECT_LE(error(found), error({scaled.lo, found.hi})) << bits << " bits, seed " << seed;
        }
      }
    }
  }
}

TEST(RangeSearchTest, RefusesOptions) {
  for (const double p : {0.5, 11.0, std::nan("")}) {
    EXPECT_EQ(ErrorField(RangeSearch::Create(p, 100).status()), "p") << p;
  }
  EXPECT_EQ(RangeSearch::Create(0.5, 100).status().message(), "must be in [1, 10], got 0.5");
  for (const int candidates : {1, 10001}) {
    EXPECT_EQ(ErrorField(RangeSearch::Create(2, candidates).status()), "candidates") << candidates;
  }
  EXPECT_EQ(RangeSearch::Create(2, 1).status().message(), "must be in [2, 10000], got 1");
  EXPECT_TRUE(RangeSearch::Create(1, 2).ok() && RangeSearch::Create(10, 10000).ok());
}

}  // namespace
}  // namespace lowbit
