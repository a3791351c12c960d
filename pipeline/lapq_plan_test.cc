#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "pipeline/run_fixture.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

class LapqPlanTest : public RunTest {
 protected:
  // How a run of these steps is answered before anything of it is done.
  std::string PlanError(const std::string& quantize, const std::string& lapq) const {
    const absl::Status status =
        Plan(absl::StrCat(model_, "steps { fold { check_images: 32 } }\nsteps { calibrate { num_images: 16 } }\n",
                          quantize, "steps { lapq { ", lapq, " } }\n"))
            .status();
    return status.ok() ? "OK" : std::string(status.message());
  }

  static std::string Quantize(const char* quantizer, const char* more = "") {
    return absl::StrCat("steps { quantize { ", more, " rules { weights { quantizer { name: \"", quantizer,
                        "\" bits: 3 } } activations { quantizer { name: \"mse\" bits: 3 } } } } }\n");
  }

  void SetUp() override {
    RunTest::SetUp();
    model_ = TrainedModel();
  }

  std::string model_;
};

TEST_F(LapqPlanTest, RefusesWeightsWhoseRoundingIsChosen) {
  for (const char* quantizer : {"gptq", "obq", "squant"}) {
    EXPECT_EQ(PlanError(Quantize(quantizer), "num_images: 16"),
              absl::StrCat("configs/tiny.textproto:5:9: steps[3].lapq.weights: the weight of conv1 (", quantizer,
                           ", 3 bits) is not rounded to the nearest codes, so that new scales would undo the rounding "
                           "that was chosen; `weights: false` leaves weights as they are"));
    EXPECT_EQ(PlanError(Quantize(quantizer), "num_images: 16 weights: false"), "OK");
    EXPECT_EQ(PlanError(Quantize(quantizer), "num_images: 16 max_bits: 2"), "OK") << "they keep their scales";
  }
  EXPECT_EQ(PlanError(Quantize("mse"), "num_images: 16"), "OK");
  EXPECT_THAT(PlanError(Quantize("mse", "sequential {}"), "num_images: 16"),
              HasSubstr("steps[3].lapq.weights: the weight of conv1 (mse, 3 bits) is not rounded"));
}

TEST_F(LapqPlanTest, RefusesThoseOfMixedPrecisionToo) {
  const auto steps = [](const char* quantizer) {
    return absl::StrCat(
        "steps { sensitivity { num_images: 16 weights { name: \"", quantizer,
        "\" } activations { name: \"mse\" } bits: [2, 4] } }\nsteps { mixed_precision { mean_weight_bits: 3 } }\n");
  };
  EXPECT_THAT(PlanError(steps("gptq"), "num_images: 16"),
              HasSubstr("steps[4].lapq.weights: the weight of conv1 (gptq, 4/2 bits) is not rounded"));
  EXPECT_EQ(PlanError(steps("gptq"), "num_images: 16 max_bits: 3"), "OK") << "some may have 4";
  EXPECT_EQ(PlanError(steps("mse"), "num_images: 16"), "OK");
}

}  // namespace
}  // namespace lowbit
