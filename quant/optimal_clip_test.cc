#include "quant/optimal_clip.h"

#include <cmath>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

constexpr Bell kBells[] = {Bell::kLaplace, Bell::kGauss};

double Density(Bell bell, double x) {
  return bell == Bell::kLaplace ? std::exp(-x) : std::sqrt(2 / M_PI) * std::exp(-x * x / 2);
}

// The smallest E on a fine grid of c, by looking at every one.
double SlowOptimum(Bell bell, double relative_step) {
  double best = 0.001;
  for (int i = 1; i < 40000; ++i) {
    const double c = i * 0.001;
    if (ClippedBellError(bell, c, relative_step) < ClippedBellError(bell, best, relative_step)) best = c;
  }
  return best;
}

// E's clipping part is the integral of (x - c)^2 beyond c.
TEST(OptimalClipTest, TheErrorIsTheIntegralOfWhatIsClipped) {
  for (const Bell bell : kBells) {
    for (const double c : {0.5, 1.5, 3.0, 5.0}) {
      double integral = 0;
      for (double x = c + 5e-5; x < c + 30; x += 1e-4) integral += (x - c) * (x - c) * Density(bell, x) * 1e-4;
      EXPECT_NEAR(ClippedBellError(bell, c, 0), integral, 1e-6 + 1e-4 * integral) << c;
      EXPECT_NEAR(ClippedBellError(bell, c, 0.5), integral + 0.25 * c * c / 12, 1e-6 + 1e-4 * integral) << c;
    }
  }
}

TEST(OptimalClipTest, IsWhereTheErrorIsSmallest) {
  for (const Bell bell : kBells) {
    for (const int bits : {2, 3, 4, 5, 6, 7, 8, 16}) {
      for (const double sides : {1.0, 2.0}) {
        const double step = sides / (std::pow(2, bits) - 1);
        EXPECT_NEAR(OptimalClip(bell, step), SlowOptimum(bell, step), 0.00051) << bits << " bits, " << sides;
      }
    }
  }
}

// The paper's constants, for 2^bits steps: those that its authors published, of 1 to 8 bits.
TEST(OptimalClipTest, ThePapersConstants) {
  const double laplace[] = {1.86, 2.83, 3.89, 5.03, 6.2, 7.41, 8.64, 9.89};
  const double gauss[] = {1.24, 1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92};
  for (int bits = 1; bits <= 8; ++bits) {
    EXPECT_NEAR(OptimalClip(Bell::kLaplace, std::ldexp(2, -bits)), laplace[bits - 1], 0.01) << bits;
    EXPECT_NEAR(OptimalClip(Bell::kGauss, std::ldexp(2, -bits)), gauss[bits - 1], 0.01) << bits;
  }
}

}  // namespace
}  // namespace lowbit
