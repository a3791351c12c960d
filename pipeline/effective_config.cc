#include "pipeline/effective_config.h"

#include <memory>
#include <string>
#include <vector>

#include "base/explicit_defaults.h"
#include "data/normalize.h"
#include "distillation/distiller.h"
#include "google/protobuf/text_format.h"
#include "model/resnet.h"
#include "pipeline/any_content.h"
#include "pipeline/field_path.h"
#include "pipeline/sweep.h"
#include "reconstruction/reconstruct_defaults.h"
#include "train/train_defaults.h"

namespace lowbit {
namespace {

// An empty list stands for a default that proto files cannot write.
template <typename List, typename Values>
void SpellOutList(const Values& values, List* list) {
  if (!list->empty()) return;
  for (const auto& value : values) list->Add(static_cast<typename List::value_type>(value));
}

// Of a QuantizerSpec or a QuantizerMethod.
void SpellOutOptions(google::protobuf::Message* quantizer) {
  const auto& field = *quantizer->GetDescriptor()->FindFieldByName("options");
  const std::unique_ptr<google::protobuf::Message> options = AnyContent(*quantizer, field);
  if (options == nullptr) return;
  SetDefaultsExplicitly(*options);
  SetAnyContent(quantizer, field, *options);
}

void SpellOutQuantizer(TensorRule* rule) {
  if (rule->has_quantizer()) SpellOutOptions(rule->mutable_quantizer());
}

void SpellOutSensitivity(SensitivityStep* step) {
  if (step->has_weights()) SpellOutOptions(step->mutable_weights());
  if (step->has_activations()) SpellOutOptions(step->mutable_activations());
  SpellOutList(std::vector<int>{8, 4, 3, 2}, step->mutable_bits());
}

void SpellOutStep(StepConfig* step) {
  if (step->has_quantize()) {
    for (QuantizeRule& rule : *step->mutable_quantize()->mutable_rules()) {
      if (rule.has_weights()) SpellOutQuantizer(rule.mutable_weights());
      if (rule.has_activations()) SpellOutQuantizer(rule.mutable_activations());
    }
  }
  if (step->has_sensitivity()) SpellOutSensitivity(step->mutable_sensitivity());
  if (step->has_lapq()) SpellOutList(std::vector<double>{2, 2.5, 3, 3.5, 4}, step->mutable_lapq()->mutable_powers());
  if (step->has_reconstruct()) SpellOutReconstructDefaults(step->mutable_reconstruct());
  if (step->has_distill()) SpellOutDistillDefaults(step->mutable_distill());
  if (step->has_train()) SpellOutTrainDefaults(step->mutable_train());
}

bool IsSwept(const PipelineConfig& config, const FieldPath& path) {
  bool found = false;
  ForEachSweptField(config, [&](const std::string& field) {
    const auto swept = ParseFieldPath(field);
    found = found || (swept.ok() && *swept == path);
  });
  return found;
}

// Unsets what the step left to another of its fields: those that have no default of their own.
void LeaveOpen(const google::protobuf::Message& given, google::protobuf::Message* effective) {
  const google::protobuf::Descriptor& type = *given.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    if (field.is_repeated() || field.has_default_value() || field.message_type() != nullptr) continue;
    if (!given.GetReflection()->HasField(given, &field)) effective->GetReflection()->ClearField(effective, &field);
  }
}

// In a sweep of a field that decides on others each of its values must find these as the user left them.
void LeaveOpenWhatIsSwept(const PipelineConfig& config, PipelineConfig* effective) {
  for (int i = 0; i < config.steps_size(); ++i) {
    const StepConfig& given = config.steps(i);
    StepConfig* step = effective->mutable_steps(i);
    if (given.has_reconstruct() && IsSwept(config, {{"steps", i}, {"reconstruct"}, {"preset"}})) {
      LeaveOpen(given.reconstruct(), step->mutable_reconstruct());
    }
    if (given.has_distill() && IsSwept(config, {{"steps", i}, {"distill"}, {"num_images"}})) {
      LeaveOpen(given.distill(), step->mutable_distill());
    }
  }
}

}  // namespace

PipelineConfig EffectiveConfig(const PipelineConfig& config) {
  PipelineConfig effective = config;
  const Normalization normalization;
  SpellOutList(normalization.mean, effective.mutable_dataset()->mutable_mean());
  SpellOutList(normalization.std, effective.mutable_dataset()->mutable_std());
  if (effective.model().has_basic_block_resnet()) {
    const BasicBlockResnetOptions defaults;
    BasicBlockResnet* network = effective.mutable_model()->mutable_basic_block_resnet();
    SpellOutList(defaults.blocks, network->mutable_blocks());
    SpellOutList(defaults.widths, network->mutable_widths());
  }
  for (StepConfig& step : *effective.mutable_steps()) SpellOutStep(&step);
  SetDefaultsExplicitly(effective);
  return effective;
}

PipelineConfig RecordedConfig(const PipelineConfig& config) {
  PipelineConfig recorded = EffectiveConfig(config);
  LeaveOpenWhatIsSwept(config, &recorded);
  return recorded;
}

std::string ConfigText(const PipelineConfig& config) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetExpandAny(true);
  std::string text;
  printer.PrintToString(config, &text);
  return text;
}

}  // namespace lowbit
