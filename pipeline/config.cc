#include "pipeline/config.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/text_format_error.h"
#include "google/protobuf/text_format.h"
#include "pipeline/any_content.h"
#include "pipeline/set_field.h"
#include "pipeline/text_error.h"
#include "pipeline/text_position.h"

namespace lowbit {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

std::string PositionText(const std::string& name, int line, int column) {
  return absl::StrCat(name, ":", line + 1, ":", column + 1);
}

// `<origin>: <path>: <message>`, without the path where the origin names it already: "--set <path>=3".
std::string ErrorText(absl::string_view origin, absl::string_view path, absl::string_view message) {
  const bool named = absl::StrContains(origin, absl::StrCat(path, "="));
  return named ? absl::StrCat(origin, ": ", message) : absl::StrCat(origin, ": ", path, ": ", message);
}

bool HasElement(const Message& message, const FieldDescriptor& field, int index) {
  if (!field.is_repeated()) return index < 0;
  return index < message.GetReflection()->FieldSize(message, &field);
}

// A list in brackets has only one position, that of its beginning.
TextFormat::ParseLocation ElementLocation(const TextFormat::ParseInfoTree& positions, const FieldDescriptor& field,
                                          int index) {
  const int first = field.is_repeated() ? 0 : -1;
  const TextFormat::ParseLocation location = positions.GetLocation(&field, std::max(index, first));
  return location.line < 0 ? positions.GetLocation(&field, first) : location;
}

}  // namespace

struct Config::File {
  std::string name;
  PipelineConfig proto;
  TextFormat::ParseInfoTree positions;
};

absl::StatusOr<Config> Config::Parse(const std::string& text, const std::string& name) {
  auto file = std::make_shared<File>();
  file->name = name;
  TextFormatError errors;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.WriteLocationsTo(&file->positions);
  if (!parser.ParseFromString(text, &file->proto)) {
    const TextPosition position = FindTextPosition(text, *PipelineConfig::descriptor(), errors.line(), errors.column());
    return absl::InvalidArgumentError(absl::StrCat(PositionText(name, position.line, position.column), ": ",
                                                   position.path, position.path.empty() ? "" : ": ",
                                                   InOurWords(errors.message())));
  }
  Config config;
  config.proto_ = file->proto;
  config.file_ = std::move(file);
  return config;
}

std::string Config::base_name() const {
  const size_t slash = file_->name.rfind('/');
  const std::string name = file_->name.substr(slash == std::string::npos ? 0 : slash + 1);
  return name.substr(0, name.rfind('.'));
}

absl::Status Config::Set(absl::string_view path, absl::string_view value, absl::string_view origin) {
  const auto parsed = ParseFieldPath(path);
  const absl::Status status = parsed.ok() ? SetField(*parsed, value, &proto_) : parsed.status();
  if (!status.ok()) return absl::Status(status.code(), ErrorText(origin, path, status.message()));
  assignments_.push_back({*parsed, std::string(origin)});
  return absl::OkStatus();
}

std::string Config::FilePosition(const FieldPath& path) const {
  TextFormat::ParseLocation found;
  const TextFormat::ParseInfoTree* positions = &file_->positions;
  const Message* message = &file_->proto;
  std::unique_ptr<Message> in_any;
  for (const PathElement& element : path) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(element.name);
    if (field == nullptr || !HasElement(*message, *field, element.index)) break;
    const TextFormat::ParseLocation location = ElementLocation(*positions, *field, element.index);
    if (location.line < 0) break;
    found = location;
    if (field->message_type() == nullptr || field->is_repeated() != (element.index >= 0)) break;
    positions = positions->GetTreeForNested(field, element.index);
    const auto* reflection = message->GetReflection();
    if (IsAny(field->message_type())) {
      std::unique_ptr<Message> content = AnyContent(*message, *field);
      if (content == nullptr) break;
      in_any = std::move(content);
      message = in_any.get();
    } else if (field->is_repeated()) {
      message = &reflection->GetRepeatedMessage(*message, field, element.index);
    } else {
      message = &reflection->GetMessage(*message, field);
    }
  }
  return found.line < 0 ? file_->name : PositionText(file_->name, found.line, found.column);
}

std::string Config::Origin(const FieldPath& path) const {
  const auto assignment = std::find_if(assignments_.rbegin(), assignments_.rend(),
                                       [&](const Assignment& a) { return IsWithin(path, a.path); });
  return assignment == assignments_.rend() ? FilePosition(path) : assignment->origin;
}

absl::Status Config::Locate(const absl::Status& error) const {
  if (error.ok()) return error;
  const std::string field = ErrorField(error).value_or("");
  const auto path = ParseFieldPath(field);
  if (!path.ok()) return absl::Status(error.code(), absl::StrCat(file_->name, ": ", error.message()));
  const std::string origin = Origin(*path);
  return absl::Status(error.code(), ErrorText(origin, field, error.message()));
}

}  // namespace lowbit
