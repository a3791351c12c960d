#ifndef LOWBIT_BASE_EXPLICIT_DEFAULTS_H_
#define LOWBIT_BASE_EXPLICIT_DEFAULTS_H_

#include <string>

#include "google/protobuf/message.h"

namespace lowbit {

// Sets every field that is not set, and is a number, a truth value, a string or an enum, to its default, here and in
// all messages below that are set, so that printing `message` spells everything out. Members of a oneof stay as they
// are: which one is set is itself a choice.
void SetDefaultsExplicitly(google::protobuf::Message& message);

// `message` with its defaults spelled out as text format on one line. Two messages that mean the same give the same
// text.
std::string CanonicalText(const google::protobuf::Message& message);

}  // namespace lowbit

#endif  // LOWBIT_BASE_EXPLICIT_DEFAULTS_H_
