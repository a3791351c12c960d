#include "pipeline/list.h"

#include <set>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "pipeline/config.pb.h"
#include "quant/quantizer_registry.h"

namespace lowbit {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// Empty: it must be given, or another field decides.
std::string DefaultText(const FieldDescriptor& field) {
  if (!field.has_default_value() && field.cpp_type() != FieldDescriptor::CPPTYPE_STRING) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(field.default_value_int32());
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(field.default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(field.default_value_uint32());
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_FLOAT:
      return absl::StrCat(field.default_value_float());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(field.default_value_double());
    case FieldDescriptor::CPPTYPE_BOOL:
      return field.default_value_bool() ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return std::string(field.default_value_enum()->name());
    case FieldDescriptor::CPPTYPE_STRING:
      return absl::StrCat("\"", absl::CEscape(field.default_value_string()), "\"");
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "";
  }
  return "";
}

std::string TypeText(const FieldDescriptor& field) {
  std::string type(field.type_name());
  if (field.message_type() != nullptr) type = std::string(field.message_type()->name());
  if (field.enum_type() != nullptr) {
    std::vector<std::string> values;
    for (int i = 0; i < field.enum_type()->value_count(); ++i) values.emplace_back(field.enum_type()->value(i)->name());
    type = absl::StrJoin(values, " | ");
  }
  return field.is_repeated() ? absl::StrCat("list of ", type) : type;
}

// One line for each field, and below it the fields of the message that it holds.
void AppendFields(const Descriptor& type, const std::string& indent, std::string* text) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    absl::StrAppend(text, indent, field.name(), ": ", TypeText(field));
    const std::string value = field.is_repeated() ? "" : DefaultText(field);
    if (!value.empty()) absl::StrAppend(text, " = ", value);
    if (field.real_containing_oneof() != nullptr) absl::StrAppend(text, "  (one of them)");
    absl::StrAppend(text, "\n");
    const bool is_any = field.message_type() != nullptr && field.message_type()->full_name() == "google.protobuf.Any";
    if (field.message_type() != nullptr && !is_any) AppendFields(*field.message_type(), indent + "  ", text);
  }
}

}  // namespace

std::string ListText() {
  std::string text = "A config (see docs/config_reference.md):\n\n";
  const Descriptor& config = *PipelineConfig::descriptor();
  AppendFields(config, "  ", &text);
  absl::StrAppend(
      &text,
      "\nQuantizers, for quantizer { name: \"...\" bits: 8 options { [type.googleapis.com/<message>] { ... } } }:\n");
  for (const std::string& name : QuantizerNames()) {
    const Descriptor& options = *(*QuantizerOptions(name))->GetDescriptor();
    absl::StrAppend(&text, "\n  ", name, "    options: ", options.full_name(), "\n");
    AppendFields(options, "    ", &text);
  }
  return text;
}

}  // namespace lowbit
