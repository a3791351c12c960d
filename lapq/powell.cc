#include "lapq/powell.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/status_macros.h"

namespace lowbit {
namespace {

using Point = std::vector<double>;

// Of a parabola through three points.
struct Sample {
  double t;
  double value;
};

// Where the parabola through three different points has its minimum; none if it opens downwards, or is a line.
bool Vertex(const Sample& a, const Sample& b, const Sample& c, double* t) {
  const double ab = (b.value - a.value) / (b.t - a.t);
  const double bc = (c.value - b.value) / (c.t - b.t);
  const double curvature = (bc - ab) / (c.t - a.t);
  if (!(curvature > 0)) return false;
  *t = (a.t + b.t) / 2 - ab / (2 * curvature);
  return true;
}

class Search {
 public:
  Search(const std::function<absl::StatusOr<double>(const Point&)>& function, Point start, double start_value,
         const PowellOptions& options)
      : function_(function), options_(options), result_{std::move(start), start_value, 0} {
    for (size_t i = 0; i < result_.x.size(); ++i) {
      directions_.emplace_back(result_.x.size(), 0.0);
      directions_.back()[i] = 1;
    }
  }

  absl::StatusOr<PowellResult> Run() {
    for (int round = 0; round < options_.iterations; ++round) {
      const double before = result_.value;
      LOWBIT_RETURN_IF_ERROR(Round());
      if (before - result_.value <= options_.tolerance * std::fabs(before)) break;
    }
    return result_;
  }

 private:
  absl::Status Round() {
    const Point x0 = result_.x;
    const double f0 = result_.value;
    size_t best_direction = 0;
    double best_decrease = 0;
    for (size_t i = 0; i < directions_.size(); ++i) {
      const double before = result_.value;
      LOWBIT_RETURN_IF_ERROR(FollowLine(directions_[i]));
      if (before - result_.value > best_decrease) {
        best_decrease = before - result_.value;
        best_direction = i;
      }
    }
    // Once more as far as the round went. Powell's test whether that direction is worth more than the best one of the
    // round: 2 (f0 - 2 fn + fe) (f0 - fn - d)^2 < d (f0 - fe)^2, with fe the value out there, d the largest decrease.
    Point way(x0.size()), beyond(x0.size());
    double length = 0;
    for (size_t i = 0; i < x0.size(); ++i) {
      way[i] = result_.x[i] - x0[i];
      beyond[i] = Bounded(result_.x[i] + way[i]);
      length = std::max(length, std::fabs(way[i]));
    }
    if (length == 0) return absl::OkStatus();
    const double fn = result_.value;
    LOWBIT_ASSIGN_OR_RETURN(const double fe, Evaluate(beyond));
    if (fe < fn) {
      result_.x = beyond;
      result_.value = fe;
    }
    const double d = best_decrease;
    if (fe >= f0 || 2 * (f0 - 2 * fn + fe) * std::pow(f0 - fn - d, 2) >= d * std::pow(f0 - fe, 2)) {
      return absl::OkStatus();
    }
    for (double& w : way) w /= length;
    LOWBIT_RETURN_IF_ERROR(FollowLine(way));
    directions_.erase(directions_.begin() + static_cast<std::ptrdiff_t>(best_direction));
    directions_.push_back(std::move(way));
    return absl::OkStatus();
  }

  // Moves to the best point found on the line x + t * direction.
  absl::Status FollowLine(const Point& direction) {
    const Point x = result_.x;
    const auto at = [&](double t) {
      Point moved = x;
      for (size_t i = 0; i < x.size(); ++i) moved[i] = Bounded(x[i] + t * direction[i]);
      return moved;
    };
    const auto try_step = [&](double t) -> absl::StatusOr<Sample> {
      const Point moved = at(t);
      if (moved == x) return Sample{t, result_.value};  // it is at its bounds
      LOWBIT_ASSIGN_OR_RETURN(const double value, Evaluate(moved));
      return Sample{t, value};
    };
    const Sample middle{0, result_.value};
    LOWBIT_ASSIGN_OR_RETURN(Sample ahead, try_step(options_.step));
    Sample behind = middle, best = middle;
    if (ahead.value < middle.value) {
      best = ahead;
    } else {
      LOWBIT_ASSIGN_OR_RETURN(behind, try_step(-options_.step));
      if (behind.value < middle.value) best = behind;
    }
    // Downhill: behind, best, ahead always enclose the best one, or end at a bound.
    if (best.t != 0) {
      Sample last = middle;
      for (int doubled = 0; doubled < kMostDoublings; ++doubled) {
        LOWBIT_ASSIGN_OR_RETURN(const Sample next, try_step(best.t + 2 * (best.t - last.t)));
        behind = last;
        ahead = next;
        if (next.value >= best.value) break;
        last = best;
        best = next;
        behind = last;
      }
    }
    double vertex;
    const Sample& center = best.t == 0 ? middle : best;
    if (behind.t != center.t && ahead.t != center.t && behind.t != ahead.t && Vertex(behind, center, ahead, &vertex) &&
        std::fabs(vertex - center.t) > kSmallestMove * options_.step) {
      LOWBIT_ASSIGN_OR_RETURN(const Sample guess, try_step(vertex));
      if (guess.value < best.value) best = guess;
    }
    if (best.value < result_.value) {
      result_.x = at(best.t);
      result_.value = best.value;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<double> Evaluate(const Point& x) {
    ++result_.evaluations;
    return function_(x);
  }

  double Bounded(double x) const { return std::clamp(x, options_.lowest, options_.highest); }

  static constexpr int kMostDoublings = 4;
  static constexpr double kSmallestMove = 0.1;

  const std::function<absl::StatusOr<double>(const Point&)>& function_;
  const PowellOptions& options_;
  PowellResult result_;
  std::vector<Point> directions_;
};

}  // namespace

absl::StatusOr<PowellResult> MinimizePowell(
    const std::function<absl::StatusOr<double>(const std::vector<double>& x)>& function, std::vector<double> start,
    double start_value, const PowellOptions& options) {
  return Search(function, std::move(start), start_value, options).Run();
}

}  // namespace lowbit
