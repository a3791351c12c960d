#include "pipeline/set_field.h"

#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/text_format_error.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "pipeline/any_content.h"
#include "pipeline/text_error.h"

namespace lowbit {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// `name: value` as text format, read into a message of `parent`'s type that holds nothing else.
absl::StatusOr<std::unique_ptr<Message>> ParseAlone(const Message& parent, const FieldDescriptor& field,
                                                    absl::string_view value) {
  std::string text(value);
  const bool quoted = absl::StartsWith(value, "\"") || absl::StartsWith(value, "'");
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && !quoted &&
      !(field.is_repeated() && absl::StartsWith(value, "["))) {
    text = absl::StrCat("\"", absl::CEscape(value), "\"");
  }
  std::unique_ptr<Message> alone(parent.New());
  TextFormatError errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  if (!parser.ParseFromString(absl::StrCat(field.name(), ": ", text), alone.get())) {
    return absl::InvalidArgumentError(InOurWords(errors.message()));
  }
  // A value such as `3 seed: 4` would bring other fields along.
  std::vector<const FieldDescriptor*> set;
  alone->GetReflection()->ListFields(*alone, &set);
  for (const FieldDescriptor* other : set) {
    if (other != &field) return absl::InvalidArgumentError(absl::StrCat("sets another field too: ", other->name()));
  }
  return alone;
}

absl::Status CheckIndex(const Message& message, const FieldDescriptor& field, int index) {
  if (!field.is_repeated()) {
    if (index < 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("\"", field.name(), "\" is no list, so it takes no [index]"));
  }
  const int size = message.GetReflection()->FieldSize(message, &field);
  if (index < size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("there is no ", field.name(), "[", index, "]: \"", field.name(),
                                                 "\" has ", size, size == 1 ? " element" : " elements"));
}

absl::Status Assign(const FieldDescriptor& field, int index, absl::string_view value, Message* message) {
  LOWBIT_RETURN_IF_ERROR(CheckIndex(*message, field, index));
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Message> alone, ParseAlone(*message, field, value));
  const Reflection& reflection = *message->GetReflection();
  if (index < 0) {
    reflection.ClearField(message, &field);
    message->MergeFrom(*alone);
    return absl::OkStatus();
  }
  if (reflection.FieldSize(*alone, &field) != 1) return absl::InvalidArgumentError("must be a single value");
  message->MergeFrom(*alone);  // At the list's end, from where it trades places with the old one.
  reflection.SwapElements(message, &field, index, reflection.FieldSize(*message, &field) - 1);
  reflection.RemoveLast(message, &field);
  return absl::OkStatus();
}

absl::Status Set(const FieldPath& path, size_t depth, absl::string_view value, Message* message);

absl::Status SetInAny(const FieldPath& path, size_t depth, absl::string_view value, const FieldDescriptor& field,
                      Message* message) {
  const std::unique_ptr<Message> content = AnyContent(*message, field);
  if (content == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("\"", field.name(), "\" holds no message of a known type"));
  }
  LOWBIT_RETURN_IF_ERROR(Set(path, depth + 1, value, content.get()));
  SetAnyContent(message, field, *content);
  return absl::OkStatus();
}

absl::Status Set(const FieldPath& path, size_t depth, absl::string_view value, Message* message) {
  const PathElement& element = path[depth];
  LOWBIT_ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(*message->GetDescriptor(), element.name));
  if (depth + 1 == path.size()) return Assign(*field, element.index, value, message);

  if (field->message_type() == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("\"", field->name(), "\" has no fields"));
  }
  LOWBIT_RETURN_IF_ERROR(CheckIndex(*message, *field, element.index));
  const Reflection& reflection = *message->GetReflection();
  if (field->is_repeated()) {
    if (element.index < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", field->name(), "\" is a list: say which, as in ", field->name(), "[0]"));
    }
    return Set(path, depth + 1, value, reflection.MutableRepeatedMessage(message, field, element.index));
  }
  if (const auto* oneof = field->real_containing_oneof()) {
    const FieldDescriptor* set = reflection.GetOneofFieldDescriptor(*message, oneof);
    if (set != nullptr && set != field) {
      return absl::InvalidArgumentError(absl::StrCat("there is \"", set->name(), "\", not \"", field->name(), "\""));
    }
  }
  if (IsAny(field->message_type())) return SetInAny(path, depth, value, *field, message);
  return Set(path, depth + 1, value, reflection.MutableMessage(message, field));
}

}  // namespace

absl::Status SetField(const FieldPath& path, absl::string_view value, Message* message) {
  const std::unique_ptr<Message> changed(message->New());
  changed->CopyFrom(*message);
  LOWBIT_RETURN_IF_ERROR(Set(path, 0, value, changed.get()));
  message->GetReflection()->Swap(message, changed.get());
  return absl::OkStatus();
}

}  // namespace lowbit
