#ifndef LOWBIT_PIPELINE_FIELD_PATH_H_
#define LOWBIT_PIPELINE_FIELD_PATH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace lowbit {

// One step on the way from a config to one of its fields: `rules[0]`. Index -1: none was given.
struct PathElement {
  std::string name;
  int index = -1;

  bool operator==(const PathElement& other) const { return name == other.name && index == other.index; }
};

// `steps[3].quantize.rules[0].weights`. The fields of a google.protobuf.Any are those of the message in it.
using FieldPath = std::vector<PathElement>;

// InvalidArgument for a text that is no path.
absl::StatusOr<FieldPath> ParseFieldPath(absl::string_view text);

std::string FieldPathToString(const FieldPath& path);

// Whether `path` is `ancestor` or lies below it.
bool IsWithin(const FieldPath& path, const FieldPath& ancestor);

// The field of this name, or InvalidArgument: `unknown QuantizeStep field "rule"; did you mean "rules"? (known:
// rules)`.
absl::StatusOr<const google::protobuf::FieldDescriptor*> FindField(const google::protobuf::Descriptor& type,
                                                                   absl::string_view name);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_FIELD_PATH_H_
