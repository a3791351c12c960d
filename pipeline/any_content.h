#ifndef LOWBIT_PIPELINE_ANY_CONTENT_H_
#define LOWBIT_PIPELINE_ANY_CONTENT_H_

#include <memory>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace lowbit {

// Whether a field's message is a google.protobuf.Any. In a config the path of a field does not show it: what is in the
// Any counts as its fields.
bool IsAny(const google::protobuf::Descriptor* type);

// The message in the Any that is `field` of `parent`. An Any that is not set stands for the defaults: for the `options`
// of a QuantizerSpec or QuantizerMethod they are those of the quantizer that it names. Null where neither helps (an
// unknown type or quantizer).
std::unique_ptr<google::protobuf::Message> AnyContent(const google::protobuf::Message& parent,
                                                      const google::protobuf::FieldDescriptor& field);

// The reverse: puts `content` into the Any.
void SetAnyContent(google::protobuf::Message* parent, const google::protobuf::FieldDescriptor& field,
                   const google::protobuf::Message& content);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_ANY_CONTENT_H_
