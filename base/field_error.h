#ifndef LOWBIT_BASE_FIELD_ERROR_H_
#define LOWBIT_BASE_FIELD_ERROR_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lowbit {

// Errors that know which field of a config is at fault, and nothing of files. The field's path travels beside the
// message, as a payload of the status; who knows the file turns it into a position:
//
//   configs/x.textproto:8:78: steps[3].quantize.rules[0].quantizer.bits: must be in [1, 8], got 12
//                             ^ PrependField("steps[3].quantize.rules[0].quantizer")
//                                                                  ^ FieldError("bits", "must be ...")

// InvalidArgument with `message` (say what was got and what was wanted, not where), at `field`: "bits",
// "rules[2].name".
absl::Status FieldError(absl::string_view field, absl::string_view message);

// OK for a value in [low, high]; else FieldError: "must be " and what is wanted, "in [0, 1]", ", got " and the value.
absl::Status CheckFieldRange(absl::string_view field, double value, double low, double high, absl::string_view wanted);

// Puts `prefix` before the field that `status` names: "rules[0]" and "bits" make "rules[0].bits"; no dot is put before
// a "[". A status that names no field gets `prefix` as its field. Code, message and other payloads stay as they are,
// and so does an OK status.
absl::Status PrependField(absl::Status status, absl::string_view prefix);

// The field path of `status`, or nothing where it names none.
std::optional<std::string> ErrorField(const absl::Status& status);

}  // namespace lowbit

#endif  // LOWBIT_BASE_FIELD_ERROR_H_
