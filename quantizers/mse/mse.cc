// Search for the range of the smallest Lp error. docs/quantizers/mse.md says more.

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "quant/quantizer_registry.h"
#include "quant/range_error.h"
#include "quant/range_quantizer.h"
#include "quantizers/mse/options.pb.h"

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

class Mse : public RangeQuantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const MseOptions& options) {
    if (!(options.p() >= 1 && options.p() <= 10)) {
      return FieldError("p", absl::StrCat("must be in [1, 10], got ", options.p()));
    }
    if (options.candidates() < 2 || options.candidates() > 10000) {
      return FieldError("candidates", absl::StrCat("must be in [2, 10000], got ", options.candidates()));
    }
    return std::unique_ptr<Quantizer>(new Mse(options));
  }

 private:
  explicit Mse(const MseOptions& options)
      : RangeQuantizer(SchemesOf(options)), p_(options.p()), candidates_(options.candidates()) {}

  StatsRequest range_request() const override {
    StatsRequest request;
    request.histogram = true;
    return request;
  }

  Range WeightRange(absl::Span<const float> weights, const RangeQuery& query) const override {
    return Search(query, [&](const Range& range) {
      return GridError(weights, MakeGrid(range, query.symmetric, query.bits), p_, Magnitude(query.extremes));
    });
  }

  Range ActivationRange(const TensorStatistics& statistics, const RangeQuery& query) const override {
    return Search(query, [&](const Range& range) {
      return GridError(statistics.histogram(), query.extremes, MakeGrid(range, query.symmetric, query.bits), p_,
                       Magnitude(query.extremes));
    });
  }

  Range Search(const RangeQuery& query, const Best::Error& error) const {
    Best best(query.extremes, error);
    for (int i = candidates_ - 1; i > 0; --i) best.Try(Scaled(query.extremes, Fraction(i)));
    if (!query.symmetric && !IsOneSided(query.extremes)) MoveEachEnd(query.extremes, &best);
    return best.range();
  }

  // Down to an end at 0.
  void MoveEachEnd(const Range& extremes, Best* best) const {
    double before;
    int rounds = 0;
    do {
      before = best->error();
      const float lo = best->range().lo;
      for (int i = candidates_; i >= 0; --i) best->Try({lo, Scaled(extremes, Fraction(i)).hi});
      const float hi = best->range().hi;
      for (int i = candidates_; i >= 0; --i) best->Try({Scaled(extremes, Fraction(i)).lo, hi});
    } while (best->error() < before && ++rounds < kMostRounds);
  }

  double Fraction(int i) const { return static_cast<double>(i) / candidates_; }

  const double p_;
  const int candidates_;
};

LOWBIT_REGISTER_QUANTIZER("mse", MseOptions, Mse);

}  // namespace
}  // namespace lowbit
