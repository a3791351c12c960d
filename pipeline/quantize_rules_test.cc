#include "pipeline/quantize_rules.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "model/resnet.h"
#include "quant/quantizer_registry.h"

namespace lowbit {
namespace {

constexpr char kAll[] = R"(rules { weights { quantizer { name: "min_max" bits: 4 } }
                                   activations { quantizer { name: "min_max" bits: 8 } } } )";

absl::StatusOr<QuantizeRules> Rules(const std::string& text) {
  QuantizeStep step;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &step)) << text;
  return QuantizeRules::Create(step);
}

absl::StatusOr<QuantizationPlan> Apply(const std::string& text, Shortcut shortcut = Shortcut::kOptionA) {
  const auto rules = Rules(text);
  EXPECT_TRUE(rules.ok()) << rules.status();
  ResnetCifarOptions options;
  options.shortcut = shortcut;
  return rules->Apply(*BuildResnetCifar(options));
}

void ExpectError(const absl::Status& status, const std::string& field, const std::string& message) {
  EXPECT_EQ(status.message(), message);
  EXPECT_EQ(ErrorField(status).value_or("none"), field);
}

TEST(QuantizeRules, EveryLayerGetsAChoiceAndActivationsBelongToTheirProducer) {
  const Graph graph = *BuildResnetCifar({});
  const auto plan = Apply(kAll);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->weights.size(), 20u);      // 19 convolutions and the linear layer
  EXPECT_EQ(plan->activations.size(), 20u);  // each reads a tensor of its own
  EXPECT_EQ(plan->weights.at(graph.Find("layer2.0.conv1")).ToString(), "min_max, 4 bits");
  EXPECT_EQ(plan->activations.at(graph.Find("input")).ToString(), "min_max, 8 bits");
  EXPECT_EQ(plan->activations.count(graph.Find("layer1.0.relu2")), 1u);  // what layer1.1.conv1 reads
  EXPECT_EQ(plan->activations.count(graph.Find("flatten")), 1u);
  EXPECT_EQ(plan->activations.count(graph.Find("layer1.0.bn1")), 0u);
}

TEST(QuantizeRules, TheLastMatchDecidesForEachRoleAlone) {
  const Graph graph = *BuildResnetCifar({});
  const auto plan = Apply(absl::StrCat(kAll, R"(
      rules { layers: "linear|conv1" weights { keep_float {} } }
      rules { layers: "conv1" weights { quantizer { name: "min_max" bits: 2 } } })"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->weights.at(graph.Find("linear")).ToString(), "float");
  EXPECT_EQ(plan->weights.at(graph.Find("linear")).field, "rules[1].weights.keep_float");
  EXPECT_EQ(plan->weights.at(graph.Find("conv1")).ToString(), "min_max, 2 bits");
  // The whole name must match.
  EXPECT_EQ(plan->weights.at(graph.Find("layer1.0.conv1")).ToString(), "min_max, 4 bits");
  EXPECT_EQ(plan->activations.at(graph.Find("flatten")).ToString(), "min_max, 8 bits");
}

TEST(QuantizeRules, WantsStatistics) {
  EXPECT_TRUE(Rules(kAll)->WantsStatistics());
  const auto weights = [](const std::string& name) {
    return absl::StrCat("rules { weights { quantizer { name: '", name, "' bits: 4 } } activations { keep_float {} } }");
  };
  EXPECT_FALSE(Rules(weights("min_max"))->WantsStatistics());
  EXPECT_TRUE(Rules(weights("gptq"))->WantsStatistics()) << "it wants to know what a layer reads";
}

TEST(QuantizeRules, ReadersOfOneTensorMustAgree) {
  // With option B layer2.0.conv1 and the shortcut's convolution read the same tensor.
  const auto differ = Apply(absl::StrCat(kAll, R"(rules { layers: ".*shortcut.*" activations { keep_float {} } })"),
                            Shortcut::kOptionB);
  ExpectError(
      differ.status(), "rules[1].activations.keep_float",
      "\"layer2.0.shortcut.0\" and \"layer2.0.conv1\" read the same tensor, from \"layer1.2.relu2\", but one would "
      "have it as float, the other as min_max, 8 bits (rules[0].activations.quantizer)");
  // Two rules that say the same are no contradiction.
  EXPECT_TRUE(Apply(absl::StrCat(kAll, R"(rules { layers: ".*shortcut.*"
                                    activations { quantizer { name: "min_max" bits: 8 } } })"),
                    Shortcut::kOptionB)
                  .ok());
}

TEST(QuantizeRules, NothingIsSkippedSilently) {
  ExpectError(Apply(absl::StrCat(kAll, R"(rules { layers: "liner" weights { keep_float {} } })")).status(),
              "rules[1].layers",
              "\"liner\" matches no convolution or linear layer; did you mean \"linear\"?; there are: conv1, "
              "layer1.0.conv1, layer1.0.conv2, layer1.1.conv1, layer1.1.conv2, layer1.2.conv1, layer1.2.conv2, "
              "layer2.0.conv1, layer2.0.conv2, layer2.1.conv1, layer2.1.conv2, layer2.2.conv1, layer2.2.conv2, "
              "layer3.0.conv1, layer3.0.conv2, layer3.1.conv1, layer3.1.conv2, layer3.2.conv1, layer3.2.conv2, linear");
  ExpectError(
      Apply(R"(rules { weights { keep_float {} } }
                       rules { layers: ".*conv.*" activations { keep_float {} } })")
          .status(),
      "rules",
      "no rule says what becomes of the activations of \"linear\"; a rule with keep_float {} would leave them as "
      "they are");
}

TEST(QuantizeRules, AChoiceThatLaterRulesOverrideEverywhereIsAMistake) {
  ExpectError(Apply(absl::StrCat(kAll, R"(rules { activations { keep_float {} } })")).status(),
              "rules[0].activations.quantizer",
              "decides nothing: a later rule decides for every layer that this one matches");
}

TEST(QuantizeRules, BadRules) {
  ExpectError(Rules("").status(), "none", "has no rules");
  ExpectError(Rules("rules {}").status(), "rules[0]", "says nothing about weights or activations");
  ExpectError(Rules("rules { weights {} }").status(), "rules[0].weights",
              "is empty; it should hold quantizer { ... } or keep_float {}");
  ExpectError(Rules("rules { weights { quantizer { bits: 4 } } }").status(), "rules[0].weights.quantizer",
              absl::StrCat("has no name; known are: ", absl::StrJoin(QuantizerNames(), ", ")));
  ExpectError(Rules("rules { weights { quantizer { name: \"minmax\" bits: 4 } } }").status(),
              "rules[0].weights.quantizer.name",
              absl::StrCat("unknown quantizer \"minmax\"; did you mean \"min_max\"? (known: ",
                           absl::StrJoin(QuantizerNames(), ", "), ")"));
  ExpectError(Rules("rules { weights { quantizer { name: \"min_max\" } } }").status(),
              "rules[0].weights.quantizer.bits", "is missing; it must be 1 to 8, or 16");
  ExpectError(Rules("rules { activations { quantizer { name: \"min_max\" bits: 12 } } }").status(),
              "rules[0].activations.quantizer.bits", "must be 1 to 8, or 16; got 12");
  const absl::Status regex = Rules("rules { layers: \"(\" weights { keep_float {} } }").status();
  EXPECT_EQ(ErrorField(regex).value_or(""), "rules[0].layers");
  EXPECT_EQ(std::string(regex.message()).find("\"(\" is no regular expression: "), 0u);
}

}  // namespace
}  // namespace lowbit
