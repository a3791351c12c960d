#ifndef LOWBIT_PIPELINE_SET_FIELD_H_
#define LOWBIT_PIPELINE_SET_FIELD_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "pipeline/field_path.h"

namespace lowbit {

// Gives the field of `message` at `path` the value that `value` says in text format (a string may stand without
// quotes). Messages in braces and whole lists in brackets work too, and so do fields inside an Any. What the path leads
// through must be there already or be plain messages: an index beyond the end of a list, or a member of a oneof beside
// the one that is set, is refused. InvalidArgument that says what is wrong, without the path; `message` is then
// unchanged.
absl::Status SetField(const FieldPath& path, absl::string_view value, google::protobuf::Message* message);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_SET_FIELD_H_
