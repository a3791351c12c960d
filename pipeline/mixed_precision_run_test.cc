// The mixed_precision step within runs.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "pipeline/run_fixture.h"

namespace lowbit {
namespace {

using testing::Contains;
using testing::HasSubstr;

// The network's weights are 4 * 27, 4 * 36, 4 * 36 and 4 * 64; each of the 16 channels begins with a byte of its own
// and has a scale.
constexpr int64_t kBytesAt4 = 4 * 14 + 2 * 4 * 18 + 4 * 32 + 4 * 16;
constexpr int64_t kBytesAt2 = 4 * 7 + 2 * 4 * 9 + 4 * 16 + 4 * 16;

constexpr char kBefore[] = R"(
  steps { evaluate {} }
  steps { fold { check_images: 32 } }
  steps { calibrate { num_images: 32 batch_size: 16 } }
  steps {
    sensitivity {
      weights { name: "per_channel" }
      activations { name: "per_channel" }
      bits: [8, 4, 2]
      num_images: 24
    }
  }
)";

std::string Mixed(const std::string& fields) {
  return absl::StrCat(kBefore, "steps { mixed_precision { ", fields, " } }\n");
}

nlohmann::json Result(const std::string& bytes) { return nlohmann::json::parse(bytes); }

using MixedPrecisionRunTest = RunTest;

TEST_F(MixedPrecisionRunTest, TheConfigThatItWritesGivesTheSameModel) {
  const std::string model = TrainedModel();
  const auto run = Run(absl::StrCat(model, Mixed("mean_weight_bits: 5.5 keep { layers: \"linear\" bits: 8 }"),
                                    "steps { evaluate { name: \"mixed\" } }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->report.rows[1].label(), "mixed");
  EXPECT_TRUE(run->report.rows[1].quantized);

  const std::string written = Bytes(run->folder, "mixed_precision.textproto");
  const auto again = Run(written);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Bytes(again->folder, "model.safetensors"), Bytes(run->folder, "model.safetensors"));
  std::vector<std::string> steps;
  for (const auto& step : again->report.steps) steps.push_back(step["step"]);
  EXPECT_THAT(steps, testing::ElementsAre("evaluate", "fold", "calibrate", "quantize", "evaluate"));
  EXPECT_EQ(again->report.rows[1].result.metrics.top1, run->report.rows[1].result.metrics.top1);
  EXPECT_EQ(again->report.config, "tiny_bits");
}

// A correction may follow; what is skipped is not in the config that is written.
TEST_F(MixedPrecisionRunTest, CorrectionsFollowAndSkippedStepsAreLeftOut) {
  const auto run = Run(absl::StrCat(TrainedModel(), "steps { mixed_precision { mean_weight_bits: 3 } skip: true }\n",
                                    Mixed("mean_weight_bits: 5.5"), R"(
    steps { sensitivity { weights { name: "min_max" } } skip: true }
    steps { mixed_precision { mean_weight_bits: 2 } skip: true }
    steps { bias_correction { num_images: 32 } }
    steps { evaluate {} skip: true }
  )"));
  ASSERT_TRUE(run.ok()) << run.status();
  const auto again = Run(Bytes(run->folder, "mixed_precision.textproto"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Bytes(again->folder, "model.safetensors"), Bytes(run->folder, "model.safetensors"));
  std::vector<std::string> steps;
  for (const auto& step : again->report.steps) steps.push_back(step["step"]);
  EXPECT_THAT(steps, testing::ElementsAre("evaluate", "fold", "calibrate", "quantize", "bias_correction", "evaluate"));
}

TEST_F(MixedPrecisionRunTest, MeetsEachBudgetAndCostsWhatItSays) {
  const std::string model = TrainedModel();
  const auto mixed = [&](const std::string& fields) {
    const auto run = Run(absl::StrCat(model, Mixed(fields)));
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? *run : RunResult();
  };
  const RunResult bits = mixed("mean_weight_bits: 4.5");
  const auto choice = Result(Bytes(bits.folder, "mixed_precision.json"))["choices"][0];
  EXPECT_LE(choice["mean_weight_bits"], 4.5);
  EXPECT_GT(choice["mean_weight_bits"], 2);

  const RunResult bytes = mixed("weight_bytes: 400");
  const auto json = Result(Bytes(bytes.folder, "mixed_precision.json"));
  EXPECT_LE(json["choices"][0]["weight_bytes"], 400);
  EXPECT_EQ(json["choices"][0]["weight_bytes"], bytes.report.models[0]["weight_bytes"].get<int64_t>());
  int64_t sum = 0;
  for (const auto& layer : json["layers"]) sum += layer["weight_bytes"].get<int64_t>();
  EXPECT_EQ(json["choices"][0]["weight_bytes"], sum);
  // Beside it, one width for all of them.
  ASSERT_EQ(json["choices"].size(), 4u);
  EXPECT_EQ(json["choices"][2]["bits"], "all 4");
  EXPECT_EQ(json["choices"][2]["weight_bytes"], kBytesAt4);

  const RunResult operations = mixed("bit_operations: 5000000 pairing: SEPARATE activation_bits: [8, 4]");
  const auto layers = Result(Bytes(operations.folder, "mixed_precision.json"));
  EXPECT_LE(layers["choices"][0]["bit_operations"], 5000000);
  int64_t total = 0;
  for (const auto& layer : layers["layers"]) {
    EXPECT_THAT(layer["activation_bits"].get<int>(), testing::AnyOf(4, 8));
    total +=
        layer["macs"].get<int64_t>() * layer["weight_bits"].get<int64_t>() * layer["activation_bits"].get<int64_t>();
  }
  EXPECT_EQ(layers["choices"][0]["bit_operations"], total);
}

TEST_F(MixedPrecisionRunTest, TheSmallestModelWithinADrop) {
  const std::string model = TrainedModel();
  // Of 24 images one is 4.2 points. Everything is allowed: then it is the smallest that there is.
  const auto any = Run(absl::StrCat(model, Mixed("max_drop: 100 check_images: 24")));
  ASSERT_TRUE(any.ok()) << any.status();
  EXPECT_EQ(any->report.models[0]["weight_bytes"], kBytesAt2);
  const auto within = Run(absl::StrCat(model, Mixed("max_drop: 5 check_images: 24")));
  ASSERT_TRUE(within.ok()) << within.status();
  EXPECT_LE(within->report.steps[4]["check_drop"], 5);
  EXPECT_GE(within->report.models[0]["weight_bytes"], kBytesAt2);
  EXPECT_EQ(within->report.steps[4]["check_images"], 24);
}

TEST_F(MixedPrecisionRunTest, ADropThatCannotBeMetNamesTheSmallest) {
  // Trained for long enough to know the images, which it does not at one bit. There each channel has a zero point.
  const auto run = Run(absl::StrReplaceAll(absl::StrCat(kTrain, Mixed("max_drop: 0 check_images: 48")),
                                           {{"epochs: 1", "epochs: 8"}, {"bits: [8, 4, 2]", "bits: [1]"}}));
  ASSERT_FALSE(run.ok());
  EXPECT_THAT(std::string(run.status().message()),
              testing::ContainsRegex("steps\\[5\\].mixed_precision.max_drop: the smallest that the widths allow is "
                                     "[0-9.]+, that of a model of 216 bytes; got 0"));
}

TEST_F(MixedPrecisionRunTest, ASweepOverBudgetsMeasuresOnce) {
  const auto run = Run(absl::StrCat(TrainedModel(), Mixed("mean_weight_bits: 4"), R"(
    sweep { column: "mean" fields: "steps[4].mixed_precision.mean_weight_bits" values: ["3", "6"] }
  )"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(FilesIn(run->folder), Contains("sensitivity.html"));
  for (const char* folder : {"mean=3", "mean=6"}) {
    EXPECT_THAT(FilesIn(JoinPath(run->folder, folder)),
                testing::UnorderedElementsAre("mixed_precision.json", "mixed_precision.textproto"));
  }
  EXPECT_LT(run->report.models[0]["weight_bytes"], run->report.models[1]["weight_bytes"]);
}

TEST_F(MixedPrecisionRunTest, WhatCannotBeIsRefusedBeforeAnImageIsLookedAt) {
  const std::string model = TrainedModel();
  const auto message = [&](const std::string& fields) {
    return std::string(Plan(absl::StrCat(model, Mixed(fields))).status().message());
  };
  EXPECT_THAT(message("mean_weight_bits: 1.9"),
              HasSubstr("steps[4].mixed_precision.mean_weight_bits: the smallest that the widths allow is 2, got 1.9"));
  // 256 of 652 weights at 8 bits.
  EXPECT_THAT(message("mean_weight_bits: 4 keep { layers: \"linear\" bits: 8 } weight_bits: [8, 4]"),
              HasSubstr("mean_weight_bits: the smallest that the widths allow is 5.5706, got 4"));
  EXPECT_THAT(message("mean_weight_bits: 4 weight_bits: [8, 5]"),
              HasSubstr("mixed_precision.weight_bits[1]: the sensitivity step measures 8, 4, 2 bits, not 5"));
  EXPECT_THAT(message("mean_weight_bits: 4 keep { layers: \"linear\" bits: 6 }"),
              HasSubstr("keep[0].bits: the sensitivity step measures 8, 4, 2 bits, not 6"));
  EXPECT_THAT(message("mean_weight_bits: 4 keep { layers: \"lineal\" bits: 8 }"),
              HasSubstr("keep[0].layers: \"lineal\" matches no layer that the sensitivity step measures; did you mean "
                        "\"linear\"?"));
  EXPECT_THAT(message("max_drop: 1 check_images: 81"), HasSubstr("there are 80 training images, got 81"));
  const std::string bytes(Run(absl::StrCat(model, Mixed("weight_bytes: 200"))).status().message());
  EXPECT_THAT(bytes, HasSubstr("weight_bytes: the smallest that the widths allow is 228, got 200"));
}

TEST_F(MixedPrecisionRunTest, WeightsAloneStayWithFloatActivations) {
  const std::string text = absl::StrReplaceAll(
      absl::StrCat(TrainedModel(), Mixed("mean_weight_bits: 4")),
      {{"activations { name: \"per_channel\" }", ""}, {"steps { calibrate { num_images: 32 batch_size: 16 } }", ""}});
  const auto run = Run(text);
  ASSERT_TRUE(run.ok()) << run.status();
  const auto again = Run(Bytes(run->folder, "mixed_precision.textproto"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Bytes(again->folder, "model.safetensors"), Bytes(run->folder, "model.safetensors"));
}

TEST_F(MixedPrecisionRunTest, ANetworkChangedSinceItWasMeasuredIsRefused) {
  const std::string text = absl::StrCat(TrainedModel(), R"(
    steps { sensitivity { weights { name: "per_channel" } num_images: 24 } }
    steps { fold { check_images: 32 } }
    steps { mixed_precision { mean_weight_bits: 4 } }
  )");
  EXPECT_THAT(std::string(Plan(text).status().message()),
              HasSubstr("steps[2].mixed_precision: a step in between changes the network"));
}

}  // namespace
}  // namespace lowbit
