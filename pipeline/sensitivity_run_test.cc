// The sensitivity step within runs.

#include <algorithm>
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
using testing::Not;

constexpr char kSensitivity[] = R"(
  steps { fold { check_images: 32 } }
  steps { calibrate { num_images: 32 batch_size: 16 } }
  steps {
    sensitivity {
      weights { name: "per_channel" }
      activations { name: "per_channel" }
      bits: [2, 8, 4]
      num_images: 24
      batch_size: 16
    }
  }
)";

using SensitivityRunTest = RunTest;

TEST_F(SensitivityRunTest, LeavesAPageAndNumbersAndTheNetworkAsItWas) {
  const std::string model = TrainedModel();
  const auto run = Run(absl::StrCat(model, kSensitivity, "steps { evaluate {} }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(FilesIn(run->folder), testing::IsSupersetOf({"sensitivity.html", "sensitivity.json", "tensorboard"}));
  EXPECT_THAT(FilesIn(run->folder), Not(Contains("model.safetensors")));
  EXPECT_EQ(run->report.rows[0].label(), "float");

  const auto json = nlohmann::json::parse(Bytes(run->folder, "sensitivity.json"));
  EXPECT_EQ(json["bits"], (std::vector<int>{8, 4, 2}));
  EXPECT_EQ(json["images"], 24);
  ASSERT_EQ(json["layers"].size(), 4u);
  double last = 1e300;
  for (const auto& layer : json["layers"]) {
    const double kl = layer["widths"][2]["both"]["kl"];
    EXPECT_LE(kl, last);
    last = kl;
    EXPECT_LT(layer["widths"][0]["both"]["kl"], kl) << layer["layer"];
    EXPECT_THAT(Bytes(run->folder, "sensitivity.html"), HasSubstr(std::string(layer["layer"])));
  }
  EXPECT_EQ(run->report.steps[2]["images"], 24);
  EXPECT_EQ(run->report.steps[2]["kl_at_smallest_width"].size(), 4u);
}

TEST_F(SensitivityRunTest, ASweepHasAPageForEachValue) {
  const auto run = Run(absl::StrCat(TrainedModel(), kSensitivity, R"(
    sweep { column: "method" fields: "steps[2].sensitivity.weights.name" values: ["min_max", "per_channel"] }
  )"));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string first = Bytes(JoinPath(run->folder, "method=min_max"), "sensitivity.json");
  const std::string second = Bytes(JoinPath(run->folder, "method=per_channel"), "sensitivity.json");
  EXPECT_THAT(first, HasSubstr("\"weight_quantizer\": \"min_max\""));
  EXPECT_THAT(second, HasSubstr("\"weight_quantizer\": \"per_channel\""));
}

TEST_F(SensitivityRunTest, TheSameSeedGivesTheSameNumbers) {
  const std::string text = absl::StrCat(TrainedModel(), kSensitivity);
  const auto first = Run(text);
  const auto again = Run(text);
  const auto other = Run("seed: 2\n" + text);
  ASSERT_TRUE(first.ok() && again.ok() && other.ok());
  EXPECT_EQ(Bytes(first->folder, "sensitivity.json"), Bytes(again->folder, "sensitivity.json"));
  EXPECT_NE(Bytes(first->folder, "sensitivity.json"), Bytes(other->folder, "sensitivity.json"));
}

TEST_F(SensitivityRunTest, WhatCannotBeIsRefusedBeforeAnImageIsLookedAt) {
  const std::string model = TrainedModel();
  const auto message = [&](const char* from, const char* to) {
    const auto plan = Plan(absl::StrCat(model, absl::StrReplaceAll(kSensitivity, {{from, to}})));
    return std::string(plan.status().message());
  };
  EXPECT_THAT(message("num_images: 24", "num_images: 81"), HasSubstr("there are 80 training images, got 81"));
  EXPECT_THAT(message("num_images: 24", "num_images: 24 layers: \"conv9\""),
              HasSubstr("steps[2].sensitivity.layers: \"conv9\" matches no convolution or linear layer; did you mean "
                        "\"conv1\"?"));
  EXPECT_THAT(message("weights { name: \"per_channel\" }", "weights { name: \"kl\" }"),
              HasSubstr("steps[2].sensitivity.weights.name: "));
  EXPECT_THAT(message("steps { calibrate { num_images: 32 batch_size: 16 } }", ""),
              HasSubstr("steps[1].sensitivity: needs to know what layers read and put out"));
}

}  // namespace
}  // namespace lowbit
