// Runs with the steps split_shortcuts, equalize, bias_correction and reestimate_batch_norm.

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "pipeline/run_fixture.h"
#include "quant/quantized_model.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr char kQuantizeOnly[] = R"(
  steps { calibrate { num_images: 32 batch_size: 16 } }
  steps {
    quantize {
      rules {
        weights { quantizer { name: "per_channel" bits: 3 } }
        activations { quantizer { name: "per_channel" bits: 3 } }
      }
    }
  }
)";
constexpr char kFold[] = "steps { fold { check_images: 32 } }\n";

class CorrectionsTest : public RunTest {
 protected:
  // The report's steps of this name.
  static std::vector<nlohmann::json> Steps(const std::string& folder, const std::string& name) {
    std::vector<nlohmann::json> steps;
    const auto report = nlohmann::json::parse(Bytes(folder, "report.json"));
    for (const auto& step : report["steps"]) {
      if (step["step"] == name) steps.push_back(step);
    }
    return steps;
  }

  std::string PlanError(const std::string& text) const { return std::string(Plan(text).status().message()); }
};

TEST_F(CorrectionsTest, TheCorrectedModelIsTheOneThatIsLeft) {
  const std::string model = TrainedModel();
  const auto plain = Run(absl::StrCat(model, kFold, kQuantizeOnly));
  ASSERT_TRUE(plain.ok()) << plain.status();
  for (const char* step : {"bias_correction { method: ANALYTIC }", "bias_correction { num_images: 48 }",
                           "bias_correction { num_images: 48 match: MEAN_AND_STD }"}) {
    const auto run = Run(absl::StrCat(model, kFold, kQuantizeOnly, "steps { ", step, " } steps { evaluate {} }"));
    ASSERT_TRUE(run.ok()) << step << run.status();
    EXPECT_EQ(run->report.models.size(), 1u) << step;  // Written twice, told of once.
    EXPECT_NE(Bytes(run->folder, "model.safetensors"), Bytes(plain->folder, "model.safetensors")) << step;
    const auto steps = Steps(run->folder, "bias_correction");
    ASSERT_EQ(steps.size(), 1u) << step;
    EXPECT_GT(steps[0]["layers"].size(), 1u) << step;

    // What is left is what was evaluated.
    const auto again =
        Run(absl::StrCat("model { quantized_model: \"", run->folder, "/model.safetensors\" }\nsteps { evaluate {} }"));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->report.rows[0].result.metrics.top1, run->report.rows[0].result.metrics.top1) << step;
  }
}

TEST_F(CorrectionsTest, TheSameSeedGivesTheSameBytes) {
  const std::string text = absl::StrCat(TrainedModel(), kFold, "steps { equalize { check_images: 16 } }", kQuantizeOnly,
                                        "steps { bias_correction { num_images: 48 match: MEAN_AND_STD } }");
  const auto first = Run(text), second = Run(text);
  ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
  EXPECT_EQ(Bytes(first->folder, "model.safetensors"), Bytes(second->folder, "model.safetensors"));
  const auto other = Run(absl::StrCat("seed: 2\n", text));
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE(Bytes(first->folder, "model.safetensors"), Bytes(other->folder, "model.safetensors"));
}

// A sweep's values share what comes before, and do not write into it.
TEST_F(CorrectionsTest, SweptAfterASharedQuantizeStep) {
  const auto run = Run(absl::StrCat(TrainedModel(), kFold, kQuantizeOnly,
                                    "steps { bias_correction { num_images: 48 } } steps { evaluate {} }",
                                    R"(sweep { column: "match" fields: "steps[3].bias_correction.match"
                                               values: ["MEAN_AND_STD", "MEAN"] })"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->report.models.size(), 3u);  // The shared one, and one for each value.
  const auto steps = Steps(run->folder, "bias_correction");
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0]["layers"][0]["max_shift"], steps[1]["layers"][0]["max_shift"]);
}

TEST_F(CorrectionsTest, SplitShortcutsStayFloatInBothEngines) {
  const std::string model = TrainedModel();
  constexpr char kEvaluate[] = "steps { evaluate {} } steps { evaluate { engine: INTEGER } }";
  const auto plain = Run(absl::StrCat(model, kFold, kQuantizeOnly));
  const auto run = Run(absl::StrCat(model, kFold, "steps { split_shortcuts {} }", kQuantizeOnly, kEvaluate));
  ASSERT_TRUE(plain.ok() && run.ok()) << plain.status() << run.status();
  EXPECT_THAT(Steps(run->folder, "split_shortcuts")[0]["split"], testing::ElementsAre("relu"));
  EXPECT_EQ(run->report.rows[0].result.metrics.top1, run->report.rows[1].result.metrics.top1);

  const auto whole = LoadQuantizedModel(absl::StrCat(plain->folder, "/model.safetensors"));
  const auto split = LoadQuantizedModel(absl::StrCat(run->folder, "/model.safetensors"));
  ASSERT_TRUE(whole.ok() && split.ok()) << whole.status() << split.status();
  EXPECT_EQ(whole->activations.count("relu"), 1u);
  EXPECT_EQ(split->activations.count("relu"), 0u);
  ASSERT_EQ(split->activations.count("relu.branch"), 1u);
  EXPECT_EQ(split->activations.at("relu.branch").scale, whole->activations.at("relu").scale);
}

TEST_F(CorrectionsTest, SplitShortcutsWantsAShortcutAndComesBeforeCalibrate) {
  EXPECT_THAT(PlanError("model { resnet_cifar {} } steps { split_shortcuts {} } steps { split_shortcuts {} }"),
              HasSubstr("steps[1].split_shortcuts: finds no tensor that both a layer with a weight and a shortcut"));
  EXPECT_THAT(PlanError(absl::StrCat(TrainedModel(), kFold, kQuantizeOnly, "steps { split_shortcuts {} }")),
              HasSubstr("steps[3].split_shortcuts"));
}

TEST_F(CorrectionsTest, EqualizeChangesNoLogitAndReportsItsPairs) {
  const auto run = Run(absl::StrCat(TrainedModel(), kFold, "steps { equalize { check_images: 40 } }", kQuantizeOnly));
  ASSERT_TRUE(run.ok()) << run.status();
  const auto steps = Steps(run->folder, "equalize");
  ASSERT_EQ(steps.size(), 1u);
  ASSERT_EQ(steps[0]["pairs"].size(), 1u);
  EXPECT_EQ(steps[0]["pairs"][0]["channels"], 4);
  EXPECT_LT(steps[0]["max_logit_difference"], 1e-4);
  EXPECT_EQ(steps[0].count("max_logit_difference_absorbed"), 0u);
}

TEST_F(CorrectionsTest, EqualizeAbsorbsHighBiasesIfAsked) {
  const auto run =
      Run(absl::StrCat(TrainedModel(), kFold, "steps { equalize { absorb_high_bias: true check_images: 40 } }",
                       kQuantizeOnly, "steps { bias_correction { method: ANALYTIC } }"));
  ASSERT_TRUE(run.ok()) << run.status();
  const auto steps = Steps(run->folder, "equalize");
  ASSERT_EQ(steps[0]["absorbed"].size(), 1u);
  EXPECT_TRUE(steps[0]["absorbed"][0]["pads_with_zeros"]);
  EXPECT_EQ(steps[0].count("max_logit_difference_absorbed"), 1u);
}

// With batch norms that were never folded: quantized, evaluated, re-estimated, saved and loaded.
TEST_F(CorrectionsTest, ReestimatesUnfoldedBatchNorms) {
  const std::string model = TrainedModel();
  const auto run = Run(absl::StrCat(model, kQuantizeOnly,
                                    "steps { evaluate {} } steps { reestimate_batch_norm { num_images: 48 } } "
                                    "steps { evaluate {} }"));
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->report.rows.size(), 2u);
  const auto steps = Steps(run->folder, "reestimate_batch_norm");
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_EQ(steps[0]["layers"].size(), 3u);
  EXPECT_EQ(steps[0]["images"], 48);
  const std::string packed = absl::StrCat("model { quantized_model: \"", run->folder, "/model.safetensors\" }\n");
  const auto again = Run(absl::StrCat(packed, "steps { evaluate {} }"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->report.rows[0].result.metrics.top1, run->report.rows[1].result.metrics.top1);
  // A packed model holds all that is needed.
  const auto packed_again = Run(absl::StrCat(packed, "steps { reestimate_batch_norm { num_images: 48 } }"));
  ASSERT_TRUE(packed_again.ok()) << packed_again.status();
  EXPECT_LT(Steps(packed_again->folder, "reestimate_batch_norm")[0]["layers"][0]["max_shift"], 1e-3);
}

// ---- What makes no sense ----

TEST_F(CorrectionsTest, APackedModelHasNoFloatNetworkToCompareWith) {
  const auto run = Run(absl::StrCat(TrainedModel(), kFold, kQuantizeOnly));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(
      PlanError(absl::StrCat("model { quantized_model: \"", run->folder,
                             "/model.safetensors\" }\nsteps { bias_correction {} }")),
      HasSubstr("steps[0].bias_correction: needs the float network that was quantized, which a packed model has "
                "lost: put a quantize step before it"));
}

// Without folding, convolutions have no bias to correct; the linear layer's input is known by the batch norms.
TEST_F(CorrectionsTest, AnalyticWithBatchNormsInPlaceCorrectsTheLinearLayer) {
  const auto run = Run(absl::StrCat(kTrain, kQuantizeOnly, "steps { bias_correction { method: ANALYTIC } }"));
  ASSERT_TRUE(run.ok()) << run.status();
  const auto steps = Steps(run->folder, "bias_correction");
  ASSERT_EQ(steps[0]["layers"].size(), 1u);
  EXPECT_EQ(steps[0]["skipped"].size(), 3u);
  EXPECT_THAT(std::string(steps[0]["skipped"][0]), HasSubstr("it has no bias; a fold step makes one"));
}

TEST_F(CorrectionsTest, MoreImagesThanThereAre) {
  const std::string before = absl::StrCat(kTrain, kFold, kQuantizeOnly);
  EXPECT_THAT(PlanError(absl::StrCat(before, "steps { bias_correction { num_images: 81 } }")),
              HasSubstr("steps[4].bias_correction.num_images: there are 80 training images, got 81"));
  EXPECT_THAT(PlanError(absl::StrCat(kTrain, "steps { equalize { check_images: 81 } }")),
              HasSubstr("steps[1].equalize.check_images: there are 80 training images, got 81"));
}

}  // namespace
}  // namespace lowbit
