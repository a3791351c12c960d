#ifndef LOWBIT_LAPQ_POWELL_H_
#define LOWBIT_LAPQ_POWELL_H_

#include <functional>
#include <vector>

#include "absl/status/statusor.h"

namespace lowbit {

struct PowellOptions {
  int iterations = 1;  // rounds over all directions, at most
  double step = 0.1;   // how far a line search first looks
  double lowest = -1;  // of each coordinate
  double highest = 1;
  double tolerance = 1e-3;  // it ends when a round makes the value smaller by less than this part
};

struct PowellResult {
  std::vector<double> x;
  double value = 0;
  int evaluations = 0;
};

// Looks for a minimum of a function of many variables without its derivatives (Powell 1964, "An efficient method for
// finding the minimum of a function of several variables without calculating derivatives"): it follows one direction
// after the other, first those of the coordinates; after each round the way that the round went replaces the direction
// that helped most, if that promises more. A line search tries one step either way, goes on as long as it gets better
// with steps that double, and then tries the vertex of the parabola through the best three points: some three values
// for each direction. It never returns a value above that of the start.
//
// `function` must be deterministic; an error of its ends the search. `start` lies within the bounds, `start_value` is
// its value.
absl::StatusOr<PowellResult> MinimizePowell(
    const std::function<absl::StatusOr<double>(const std::vector<double>& x)>& function, std::vector<double> start,
    double start_value, const PowellOptions& options = {});

}  // namespace lowbit

#endif  // LOWBIT_LAPQ_POWELL_H_
