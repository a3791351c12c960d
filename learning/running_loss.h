#ifndef LOWBIT_LEARNING_RUNNING_LOSS_H_
#define LOWBIT_LEARNING_RUNNING_LOSS_H_

#include <optional>

namespace lowbit {

// The loss of late, for people: a mean that forgets what is some fifty steps old.
class RunningLoss {
 public:
  // Returns the mean with this step's loss in it.
  double Add(double loss) {
    constexpr double kMemory = 0.98;
    mean_ = mean_.has_value() ? kMemory * *mean_ + (1 - kMemory) * loss : loss;
    return *mean_;
  }

 private:
  std::optional<double> mean_;
};

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_RUNNING_LOSS_H_
