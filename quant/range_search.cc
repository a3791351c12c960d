#include "quant/range_search.h"

#include <functional>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "quant/range_error.h"

namespace lowbit {
namespace {

// Moving one end after the other comes to rest after two or three rounds.
constexpr int kMostRounds = 10;

// Of all ranges tried, the one of the smallest error; of equals the first.
class Best {
 public:
  using Error = std::function<double(const Range&)>;

  Best(const Range& range, const Error& error) : error_of_(error), range_(range), error_(error(range)) {}

  void Try(const Range& range) {
    const double error = error_of_(range);
    if (error >= error_) return;
    error_ = error;
    range_ = range;
  }

  const Range& range() const { return range_; }
  double error() const { return error_; }

 private:
  const Error& error_of_;
  Range range_;
  double error_;
};

// Each end by itself, down to an end at 0.
void MoveEachEnd(const Range& extremes, int candidates, Best* best) {
  const auto scaled = [&](int i) { return Scaled(extremes, static_cast<double>(i) / candidates); };
  double before;
  int rounds = 0;
  do {
    before = best->error();
    const float lo = best->range().lo;
    for (int i = candidates; i >= 0; --i) best->Try({lo, scaled(i).hi});
    const float hi = best->range().hi;
    for (int i = candidates; i >= 0; --i) best->Try({scaled(i).lo, hi});
  } while (best->error() < before && ++rounds < kMostRounds);
}

}  // namespace

absl::StatusOr<RangeSearch> RangeSearch::Create(double p, int candidates) {
  if (!(p >= 1 && p <= 10)) return FieldError("p", absl::StrCat("must be in [1, 10], got ", p));
  if (candidates < 2 || candidates > 10000) {
    return FieldError("candidates", absl::StrCat("must be in [2, 10000], got ", candidates));
  }
  return RangeSearch(p, candidates);
}

template <typename Error>
Range RangeSearch::Search(const RangeQuery& query, const Error& error) const {
  const Best::Error error_of_range = [&](const Range& range) {
    return error(MakeGrid(range, query.symmetric, query.bits), Magnitude(query.extremes));
  };
  Best best(query.extremes, error_of_range);
  for (int i = candidates_ - 1; i > 0; --i) {
    best.Try(Scaled(query.extremes, static_cast<double>(i) / candidates_));
  }
  if (!query.symmetric && !IsOneSided(query.extremes)) MoveEachEnd(query.extremes, candidates_, &best);
  return best.range();
}

Range RangeSearch::OfWeights(absl::Span<const float> weights, const RangeQuery& query) const {
  return Search(query, [&](const Grid& grid, double unit) { return GridError(weights, grid, p_, unit); });
}

Range RangeSearch::OfActivation(const TensorStatistics& statistics, const RangeQuery& query) const {
  return Search(query, [&](const Grid& grid, double unit) {
    return GridError(statistics.histogram(), query.extremes, grid, p_, unit);
  });
}

}  // namespace lowbit
