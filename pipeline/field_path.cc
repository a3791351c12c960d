#include "pipeline/field_path.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/did_you_mean.h"

namespace lowbit {
namespace {

bool IsName(absl::string_view text) {
  return !text.empty() && !absl::ascii_isdigit(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

}  // namespace

absl::StatusOr<FieldPath> ParseFieldPath(absl::string_view text) {
  FieldPath path;
  for (absl::string_view part : absl::StrSplit(text, '.')) {
    PathElement element;
    const size_t bracket = part.find('[');
    element.name = std::string(part.substr(0, bracket));
    bool well_formed = IsName(element.name);
    if (bracket != absl::string_view::npos) {
      absl::string_view index = part.substr(bracket + 1);
      well_formed = well_formed && absl::ConsumeSuffix(&index, "]") && absl::SimpleAtoi(index, &element.index) &&
                    element.index >= 0;
    }
    if (!well_formed) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is no field path; it should look like steps[3].evaluate.max_images"));
    }
    path.push_back(std::move(element));
  }
  return path;
}

std::string FieldPathToString(const FieldPath& path) {
  return absl::StrJoin(path, ".", [](std::string* out, const PathElement& element) {
    absl::StrAppend(out, element.name);
    if (element.index >= 0) absl::StrAppend(out, "[", element.index, "]");
  });
}

bool IsWithin(const FieldPath& path, const FieldPath& ancestor) {
  return path.size() >= ancestor.size() && std::equal(ancestor.begin(), ancestor.end(), path.begin());
}

absl::StatusOr<const google::protobuf::FieldDescriptor*> FindField(const google::protobuf::Descriptor& type,
                                                                   absl::string_view name) {
  if (const auto* field = type.FindFieldByName(std::string(name))) return field;
  std::vector<std::string> known;
  for (int i = 0; i < type.field_count(); ++i) known.emplace_back(type.field(i)->name());
  return absl::InvalidArgumentError(UnknownNameMessage(absl::StrCat(type.name(), " field"), name, std::move(known)));
}

}  // namespace lowbit
