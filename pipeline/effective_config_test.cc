#include "pipeline/effective_config.h"

#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(EffectiveConfig, SpellsEverythingOut) {
  PipelineConfig config;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
      model { resnet_cifar {} }
      steps { fold {} }
      steps { train {} }
      steps { quantize { rules { weights { quantizer { name: "min_max" bits: 4 } } activations { keep_float {} } } } }
      )",
                                                            &config));
  EXPECT_EQ(ConfigText(EffectiveConfig(config)), R"(dataset {
  data_dir: ""
  mean: 0.4914
  mean: 0.4822
  mean: 0.4465
  std: 0.247
  std: 0.243
  std: 0.261
}
model {
  resnet_cifar {
    depth: 20
    shortcut: OPTION_A
    num_classes: 10
  }
  weights: ""
  quantized_model: ""
  torch_int8_model: ""
  newest: NONE
}
steps {
  fold {
    check_images: 1000
  }
  skip: false
}
steps {
  train {
    epochs: 30
    batch_size: 128
    learning_rate: 0.1
    sgd {
      momentum: 0.9
      nesterov: false
    }
    cosine {
      warmup_epochs: 0
      final_factor: 0
    }
    weight_decay: 0.0001
    decay_bias_and_norm: true
    label_smoothing: 0
    ema_decay: 0
    augment {
      crop_padding: 4
      horizontal_flip: true
      brightness: 0
      contrast: 0
      saturation: 0
      hue: 0
    }
    validation_images: 1000
    bfloat16: false
    device: "cpu"
  }
  skip: false
}
steps {
  quantize {
    rules {
      layers: ".*"
      weights {
        quantizer {
          name: "min_max"
          bits: 4
          options {
            [type.googleapis.com/lowbit.MinMaxOptions] {
              min_scale: 1e-05
            }
          }
        }
      }
      activations {
        keep_float {
        }
      }
    }
  }
  skip: false
}
seed: 1
threads: 0
output_dir: "out"
name: ""
tensorboard: true
save_models: true
)");
}

TEST(EffectiveConfig, SpellsOutASensitivityStep) {
  PipelineConfig config;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "steps { sensitivity { weights { name: \"min_max\" } } } steps { sensitivity { bits: 5 } }", &config));
  const PipelineConfig effective = EffectiveConfig(config);
  const SensitivityStep& step = effective.steps(0).sensitivity();
  EXPECT_EQ(std::vector<int>(step.bits().begin(), step.bits().end()), (std::vector<int>{8, 4, 3, 2}));
  EXPECT_EQ(step.weights().options().type_url(), "type.googleapis.com/lowbit.MinMaxOptions");
  EXPECT_FALSE(step.has_activations());
  EXPECT_EQ(effective.steps(1).sensitivity().bits_size(), 1);
}

// What a preset comes to, and what follows from num_images.
TEST(EffectiveConfig, SpellsReconstructAndDistillOut) {
  PipelineConfig config;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
      steps { reconstruct { preset: ADAROUND iterations: 7 } }
      steps { distill { num_images: 512 epochs: 3 } }
      )",
                                                            &config));
  const std::string text = ConfigText(EffectiveConfig(config));
  EXPECT_NE(text.find(R"(steps {
  reconstruct {
    preset: ADAROUND
    num_images: 1024
    batch_size: 32
    iterations: 7
    unit: LAYER
    rounding: UP_OR_DOWN
    hold: 0
    rounding_rate: 0.001
    weight_scale_rate: 0
    activation_scale_rate: 0
    bias_rate: 0
    activation_iterations: 0
    float_activations: 1
    float_inputs: 0
    regularization: 0.01
    warmup: 0.2
    start_sharpness: 20
    end_sharpness: 2
    prediction_difference: 0
    temperature: 4
    bfloat16: false
    memory_mib: 4096
  }
  skip: false
}
)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(R"(steps {
  distill {
    epochs: 3
    num_images: 512
    batch_size: 128
    weight_rate: 0.01
    scale_rate: 0.001
    bias_rate: 0.001
    warmup_steps: 100
    temperature: 4
    augment {
      crop_padding: 4
      horizontal_flip: true
      brightness: 0
      contrast: 0
      saturation: 0
      hue: 0
    }
    held_out_images: 64
    mixup: 0
    feature_weight: 0
    bfloat16: false
    hold: 0
  }
  skip: false
}
)"),
            std::string::npos)
      << text;
}

// Else the defaults of the first preset would win over those of every other.
TEST(RecordedConfig, LeavesOpenWhatASweepDecides) {
  PipelineConfig config;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
      steps { reconstruct { hold: 0.5 } }
      steps { reconstruct {} }
      steps { distill {} }
      steps { distill {} }
      sweep { cases { name: "a" set { fields: "steps[0].reconstruct.preset" value: "ADAROUND" } } }
      sweep { fields: "steps[2].distill.num_images" values: "512" }
      )",
                                                            &config));
  EXPECT_EQ(EffectiveConfig(config).steps(0).reconstruct().iterations(), 2000);
  const PipelineConfig recorded = RecordedConfig(config);
  const ReconstructConfig& swept = recorded.steps(0).reconstruct();
  EXPECT_TRUE(swept.has_preset());
  EXPECT_TRUE(swept.has_batch_size());
  EXPECT_EQ(swept.hold(), 0.5);
  EXPECT_FALSE(swept.has_iterations());
  EXPECT_FALSE(swept.has_unit());
  EXPECT_FALSE(swept.has_rounding_rate());
  EXPECT_EQ(recorded.steps(1).reconstruct().iterations(), 2000);
  EXPECT_FALSE(recorded.steps(2).distill().has_held_out_images());
  EXPECT_TRUE(recorded.steps(2).distill().has_augment());
  EXPECT_EQ(recorded.steps(3).distill().held_out_images(), 1000);
}

TEST(EffectiveConfig, IsItsOwnEffectiveConfig) {
  PipelineConfig config;
  config.mutable_model()->mutable_basic_block_resnet()->add_blocks(1);
  const PipelineConfig once = EffectiveConfig(config);
  EXPECT_EQ(once.model().basic_block_resnet().blocks_size(), 1);
  EXPECT_EQ(once.model().basic_block_resnet().widths_size(), 4);
  PipelineConfig read;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(ConfigText(once), &read));
  EXPECT_EQ(ConfigText(EffectiveConfig(read)), ConfigText(once));
}

}  // namespace
}  // namespace lowbit
