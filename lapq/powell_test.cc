#include "lapq/powell.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using Point = std::vector<double>;

// A parabola in one variable with its minimum at 0.25: a step of 0.1, steps that double until it gets worse, and the
// vertex.
TEST(PowellTest, OneParabolaByHand) {
  std::vector<double> tried;
  const auto f = [&](const Point& x) -> absl::StatusOr<double> {
    tried.push_back(x[0]);
    return (x[0] - 0.25) * (x[0] - 0.25);
  };
  PowellOptions options;
  options.iterations = 1;
  const auto result = MinimizePowell(f, {0}, 0.0625, options);
  ASSERT_TRUE(result.ok());
  // 0.1 is better, 0.1 + 2 * 0.1 too, 0.3 + 2 * 0.2 is not; the parabola's vertex; beyond it by the way of the round.
  EXPECT_THAT(tried, ElementsAre(0.1, DoubleNear(0.3, 1e-12), DoubleNear(0.7, 1e-12), DoubleNear(0.25, 1e-12), 0.5));
  EXPECT_NEAR(result->x[0], 0.25, 1e-9);
  EXPECT_NEAR(result->value, 0, 1e-12);
  EXPECT_EQ(result->evaluations, 5);
}

// A narrow valley across the coordinates: directions have to be learned.
TEST(PowellTest, FindsTheMinimumOfATiltedValley) {
  const auto f = [](const Point& x) -> absl::StatusOr<double> {
    const double along = x[0] + x[1] - 0.6, across = x[0] - x[1] + 0.2, other = x[2] - 0.5 * x[0];
    return along * along + 50 * across * across + 3 * other * other;
  };
  PowellOptions options;
  options.iterations = 30;
  options.tolerance = 1e-9;
  const auto result = MinimizePowell(f, {0, 0, 0}, *f({0, 0, 0}), options);
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->x, ElementsAre(DoubleNear(0.2, 0.01), DoubleNear(0.4, 0.01), DoubleNear(0.1, 0.01)));
}

TEST(PowellTest, StaysWithinTheBoundsAndNeverGetsWorse) {
  double lowest = 100;
  const auto f = [&](const Point& x) -> absl::StatusOr<double> {
    for (const double coordinate : x) {
      EXPECT_LE(std::fabs(coordinate), 0.5);
    }
    const double value = -x[0] + std::fabs(x[1]) + std::round(10 * x[1]) * 0.01;
    lowest = std::min(lowest, value);
    return value;
  };
  PowellOptions options;
  options.iterations = 5;
  options.lowest = -0.5;
  options.highest = 0.5;
  const auto result = MinimizePowell(f, {0, 0.2}, *f({0, 0.2}), options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->x[0], 0.5);
  EXPECT_EQ(result->value, lowest);
}

TEST(PowellTest, AnErrorEndsIt) {
  int calls = 0;
  const auto f = [&](const Point&) -> absl::StatusOr<double> {
    if (++calls == 3) return absl::CancelledError("enough");
    return 1.0;
  };
  EXPECT_EQ(MinimizePowell(f, {0, 0}, 2).status().message(), "enough");
  EXPECT_EQ(calls, 3);
}

}  // namespace
}  // namespace lowbit
