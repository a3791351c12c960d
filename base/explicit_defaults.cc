#include "base/explicit_defaults.h"

#include <memory>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/text_format.h"

namespace lowbit {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

void SetDefault(const FieldDescriptor& field, const Reflection& reflection, Message& message) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, field.default_value_int32());
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, &field, field.default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, &field, field.default_value_uint32());
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&message, &field, field.default_value_double());
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.SetFloat(&message, &field, field.default_value_float());
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, &field, field.default_value_bool());
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnum(&message, &field, field.default_value_enum());
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(&message, &field, std::string(field.default_value_string()));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return;
  }
}

}  // namespace

void SetDefaultsExplicitly(Message& message) {
  const Reflection& reflection = *message.GetReflection();
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const bool is_message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field.is_repeated()) {
      for (int k = 0; is_message && k < reflection.FieldSize(message, &field); ++k) {
        SetDefaultsExplicitly(*reflection.MutableRepeatedMessage(&message, &field, k));
      }
    } else if (is_message) {
      if (reflection.HasField(message, &field)) SetDefaultsExplicitly(*reflection.MutableMessage(&message, &field));
    } else if (field.containing_oneof() == nullptr && !reflection.HasField(message, &field)) {
      SetDefault(field, reflection, message);
    }
  }
}

std::string CanonicalText(const Message& message) {
  std::unique_ptr<Message> explicit_copy(message.New());
  explicit_copy->CopyFrom(message);
  SetDefaultsExplicitly(*explicit_copy);
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintToString(*explicit_copy, &text);
  return text;
}

}  // namespace lowbit
