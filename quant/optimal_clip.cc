#include "quant/optimal_clip.h"

#include <cmath>

namespace lowbit {
namespace {

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kDensityAtZero = 0.39894228040143267794;  // 1 / sqrt(2 pi)

double Density(double c) { return kDensityAtZero * std::exp(-c * c / 2); }
double Tail(double c) { return std::erfc(c * kSqrtHalf) / 2; }

// c + ln c = ln(12 / r^2), whose left side is concave and grows: Newton's method from a point left of the solution
// gets there from the left, without leaving the positive numbers.
double OptimalLaplaceClip(double relative_step) {
  const double wanted = std::log(12 / (relative_step * relative_step));
  double c = 1e-3;  // 12 / r^2 is at least 12, so c is at least 1.86
  for (int i = 0; i < 60; ++i) c += (wanted - c - std::log(c)) / (1 + 1 / c);
  return c;
}

// The left side falls from phi(0) to 0, the right one grows from 0.
double OptimalGaussClip(double relative_step) {
  const double slope = relative_step * relative_step / 24;
  double low = 0;
  double high = 40;  // the tail beyond it is 0 in double
  for (int i = 0; i < 100; ++i) {
    const double c = (low + high) / 2;
    (Density(c) - c * Tail(c) > slope * c ? low : high) = c;
  }
  return (low + high) / 2;
}

}  // namespace

double ClippedBellError(Bell bell, double c, double relative_step) {
  const double clipped = bell == Bell::kLaplace ? 2 * std::exp(-c) : 2 * ((1 + c * c) * Tail(c) - c * Density(c));
  return clipped + std::pow(relative_step * c, 2) / 12;
}

double OptimalClip(Bell bell, double relative_step) {
  return bell == Bell::kLaplace ? OptimalLaplaceClip(relative_step) : OptimalGaussClip(relative_step);
}

}  // namespace lowbit
