#include "pipeline/set_field.h"

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "pipeline/any_content.h"
#include "pipeline/config.pb.h"

namespace lowbit {
namespace {

constexpr char kConfig[] = R"(
  steps { fold {} }
  steps { quantize {
    rules { layers: "conv.*" weights { quantizer { name: "min_max" bits: 8 } } activations { keep_float {} } }
    rules { layers: "linear" weights { keep_float {} } }
  } }
  sweep { values: ["2", "4"] })";

PipelineConfig Example() {
  PipelineConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kConfig, &config));
  return config;
}

absl::Status Set(const std::string& path, const std::string& value, PipelineConfig* config) {
  return SetField(*ParseFieldPath(path), value, config);
}

TEST(SetField, NumbersStringsAndEnums) {
  PipelineConfig config = Example();
  ASSERT_TRUE(Set("steps[1].quantize.rules[0].weights.quantizer.bits", "4", &config).ok());
  EXPECT_EQ(config.steps(1).quantize().rules(0).weights().quantizer().bits(), 4);
  ASSERT_TRUE(Set("output_dir", "a \"b\"/c", &config).ok());
  EXPECT_EQ(config.output_dir(), "a \"b\"/c");
  ASSERT_TRUE(Set("output_dir", "'quoted'", &config).ok());
  EXPECT_EQ(config.output_dir(), "quoted");
  ASSERT_TRUE(Set("model.resnet_cifar.shortcut", "OPTION_B", &config).ok());
  EXPECT_EQ(config.model().resnet_cifar().shortcut(), OPTION_B);
}

TEST(SetField, ElementsWholeListsAndMessages) {
  PipelineConfig config = Example();
  ASSERT_TRUE(Set("sweep[0].values[1]", "16", &config).ok());
  ASSERT_EQ(config.sweep(0).values_size(), 2);
  EXPECT_EQ(config.sweep(0).values(0), "2");
  EXPECT_EQ(config.sweep(0).values(1), "16");
  ASSERT_TRUE(Set("sweep[0].values", "[\"1\", \"3\", \"5\"]", &config).ok());
  EXPECT_EQ(config.sweep(0).values_size(), 3);
  ASSERT_TRUE(Set("dataset.mean", "[0.5, 0.25]", &config).ok());
  EXPECT_EQ(config.dataset().mean(1), 0.25f);
  ASSERT_TRUE(Set("steps[1].quantize.rules[0].activations", "{ quantizer { name: \"x\" } }", &config).ok());
  EXPECT_EQ(config.steps(1).quantize().rules(0).activations().quantizer().name(), "x");
  ASSERT_TRUE(Set("steps[0]", "{ evaluate {} }", &config).ok());
  EXPECT_TRUE(config.steps(0).has_evaluate());
  EXPECT_EQ(config.steps_size(), 2);
}

TEST(SetField, InsideAnAny) {
  PipelineConfig config = Example();
  const std::string options = "steps[1].quantize.rules[0].weights.quantizer.options";
  // Not set yet: the type is that of the quantizer named beside it.
  ASSERT_TRUE(Set(options + ".min_scale", "0.5", &config).ok());
  const auto& quantizer = config.steps(1).quantize().rules(0).weights().quantizer();
  EXPECT_EQ(quantizer.options().type_url(), "type.googleapis.com/lowbit.MinMaxOptions");
  const auto content = AnyContent(quantizer, *QuantizerSpec::descriptor()->FindFieldByName("options"));
  EXPECT_EQ(content->ShortDebugString(), "min_scale: 0.5");
  EXPECT_EQ(Set(options + ".min_scal", "0.5", &config).message(),
            "unknown MinMaxOptions field \"min_scal\"; did you mean \"min_scale\"? (known: min_scale)");
}

TEST(SetField, SaysWhatIsWrongAndChangesNothing) {
  struct Case {
    const char *path, *value, *message;
  };
  for (const Case& c : {
           Case{"sed", "1",
                "unknown PipelineConfig field \"sed\"; did you mean \"seed\"? (known: dataset, except, "
                "model, name, output_dir, save_models, seed, steps, sweep, table, tensorboard, threads)"},
           Case{"seed", "abc", "Expected integer, got: abc"},
           Case{"seed", "1 threads: 2", "sets another field too: threads"},
           Case{"seed", "", "Expected integer, got: the end of the text"},
           Case{"seed.x", "1", "\"seed\" has no fields"},
           Case{"seed[0]", "1", "\"seed\" is no list, so it takes no [index]"},
           Case{"steps.fold", "{}", "\"steps\" is a list: say which, as in steps[0]"},
           Case{"steps[2].fold.check_images", "1", "there is no steps[2]: \"steps\" has 2 elements"},
           Case{"steps[1].fold.check_images", "1", "there is \"quantize\", not \"fold\""},
           Case{"steps[1].quantize.rules[0].activations.quantizer.bits", "1",
                "there is \"keep_float\", not \"quantizer\""},
           Case{"sweep[0].values[0]", "[\"1\", \"2\"]", "must be a single value"},
           Case{"steps[1].quantize.rules[1].weights.keep_float.x", "1",
                "unknown KeepFloat field \"x\" (none is known)"},
       }) {
    PipelineConfig config = Example();
    EXPECT_EQ(Set(c.path, c.value, &config).message(), c.message) << c.path;
    EXPECT_EQ(config.DebugString(), Example().DebugString()) << c.path;
  }
}

}  // namespace
}  // namespace lowbit
