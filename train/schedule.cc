#include "train/schedule.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

constexpr double kPi = 3.14159265358979323846;

// Half a cosine from `from` (t = 0) to `to` (t = 1).
double Anneal(double from, double to, double t) { return to + (from - to) * 0.5 * (1.0 + std::cos(kPi * t)); }

double Cosine(const CosineSchedule& schedule, double peak, double step, double total, double steps_per_epoch) {
  const double warmup = schedule.warmup_epochs() * steps_per_epoch;
  if (step < warmup) return peak * (step + 1) / (warmup + 1);
  const double t = (step - warmup) / std::max(1.0, total - warmup);
  return Anneal(peak, peak * schedule.final_factor(), std::min(1.0, t));
}

double OneCycle(const OneCycleSchedule& schedule, double peak, double step, double total) {
  const double initial = peak / schedule.initial_divisor();
  const double last = initial / schedule.final_divisor();
  const double top = schedule.warmup_fraction() * total;
  if (step < top) return Anneal(initial, peak, step / top);
  return Anneal(peak, last, std::min(1.0, (step - top) / std::max(1.0, total - 1 - top)));
}

}  // namespace

double LearningRate(const TrainConfig& config, int64_t step, int64_t steps_per_epoch) {
  const double total = static_cast<double>(steps_per_epoch) * config.epochs();
  const double at = static_cast<double>(step);
  switch (config.schedule_case()) {
    case TrainConfig::kConstant:
      return config.learning_rate();
    case TrainConfig::kOneCycle:
      return OneCycle(config.one_cycle(), config.learning_rate(), at, total);
    case TrainConfig::kCosine:
    case TrainConfig::SCHEDULE_NOT_SET:
      break;
  }
  return Cosine(config.cosine(), config.learning_rate(), at, total, static_cast<double>(steps_per_epoch));
}

}  // namespace lowbit
