#include "pipeline/step_order.h"

#include "base/field_error.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

class FakeStep : public Step {
 public:
  FakeStep(std::string name, std::vector<Fact> needs, std::vector<Fact> makes, std::vector<Fact> refuses)
      : name_(name), needs_(needs), makes_(makes), refuses_(refuses) {}
  std::string name() const override { return name_; }
  std::vector<Fact> needs() const override { return needs_; }
  std::vector<Fact> makes() const override { return makes_; }
  std::vector<Fact> refuses() const override { return refuses_; }
  absl::Status Plan(PlanState&) const override { return absl::OkStatus(); }
  absl::Status Run(const RunContext&, RunState&) const override { return absl::OkStatus(); }

 private:
  std::string name_;
  std::vector<Fact> needs_, makes_, refuses_;
};

std::unique_ptr<Step> Train() {
  return std::make_unique<FakeStep>("train", std::vector<Fact>{}, std::vector<Fact>{Fact::kWeights},
                                    std::vector<Fact>{Fact::kQuantized});
}
std::unique_ptr<Step> Calibrate() {
  return std::make_unique<FakeStep>("calibrate", std::vector<Fact>{Fact::kWeights},
                                    std::vector<Fact>{Fact::kStatistics}, std::vector<Fact>{});
}
std::unique_ptr<Step> Quantize() {
  return std::make_unique<FakeStep>("quantize", std::vector<Fact>{Fact::kWeights, Fact::kStatistics},
                                    std::vector<Fact>{Fact::kQuantized}, std::vector<Fact>{Fact::kQuantized});
}

template <typename... Steps>
absl::Status Check(const std::vector<Fact>& start, const Steps&... step) {
  std::vector<const Step*> steps;
  (steps.push_back(step.get()), ...);
  return CheckStepOrder(steps, start);
}

TEST(CheckStepOrder, GoodOrders) {
  EXPECT_TRUE(Check({}, Train(), Calibrate(), Quantize()).ok());
  EXPECT_TRUE(Check({Fact::kWeights}, Calibrate(), Quantize()).ok());
}

TEST(CheckStepOrder, WhatIsMissing) {
  const absl::Status weights = Check({}, Calibrate());
  EXPECT_EQ(weights.message(), "needs weights: name a file in model.weights, or put a train step before it");
  EXPECT_EQ(ErrorField(weights), "steps[0].calibrate");
  const absl::Status statistics = Check({Fact::kWeights}, Quantize(), Calibrate());
  EXPECT_EQ(statistics.message(), "needs to know what layers read and put out: put a calibrate step before it");
  EXPECT_EQ(ErrorField(statistics), "steps[0].quantize");
}

TEST(CheckStepOrder, ASkippedStepMakesNothingButKeepsItsNumber) {
  const std::unique_ptr<Step> calibrate = Calibrate(), quantize = Quantize();
  EXPECT_TRUE(CheckStepOrder({calibrate.get(), nullptr, quantize.get()}, {Fact::kWeights}).ok());
  const absl::Status missing = CheckStepOrder({nullptr, quantize.get()}, {Fact::kWeights});
  EXPECT_EQ(missing.message(), "needs to know what layers read and put out: put a calibrate step before it");
  EXPECT_EQ(ErrorField(missing), "steps[1].quantize");
  EXPECT_TRUE(CheckStepOrder({calibrate.get(), nullptr, calibrate.get()}, {Fact::kWeights}).ok());
}

TEST(CheckStepOrder, WhatComesTooLate) {
  const absl::Status twice = Check({Fact::kWeights}, Calibrate(), Quantize(), Quantize());
  EXPECT_EQ(twice.message(), "cannot come after steps[1].quantize");
  EXPECT_EQ(ErrorField(twice), "steps[2].quantize");
  EXPECT_EQ(Check({Fact::kWeights, Fact::kQuantized}, Train()).message(),
            "is not for a model that is quantized already");
}

}  // namespace
}  // namespace lowbit
