#include "pipeline/any_content.h"

#include <string>

#include "google/protobuf/any.pb.h"
#include "pipeline/config.pb.h"
#include "quant/quantizer_registry.h"

namespace lowbit {

using google::protobuf::Any;
using google::protobuf::Message;

bool IsAny(const google::protobuf::Descriptor* type) { return type == Any::descriptor(); }

std::unique_ptr<Message> AnyContent(const Message& parent, const google::protobuf::FieldDescriptor& field) {
  const auto& any = static_cast<const Any&>(parent.GetReflection()->GetMessage(parent, &field));
  if (any.type_url().empty()) {
    const bool names_a_quantizer = parent.GetDescriptor() == QuantizerSpec::descriptor() ||
                                   parent.GetDescriptor() == QuantizerMethod::descriptor();
    if (!names_a_quantizer) return nullptr;
    const auto options =
        QuantizerOptions(parent.GetReflection()->GetString(parent, parent.GetDescriptor()->FindFieldByName("name")));
    return std::unique_ptr<Message>(options.ok() ? (*options)->New() : nullptr);
  }
  const std::string name = any.type_url().substr(any.type_url().rfind('/') + 1);
  const auto* type = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  if (type == nullptr) return nullptr;
  std::unique_ptr<Message> content(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  if (!content->ParseFromString(any.value())) return nullptr;
  return content;
}

void SetAnyContent(Message* parent, const google::protobuf::FieldDescriptor& field, const Message& content) {
  static_cast<Any*>(parent->GetReflection()->MutableMessage(parent, &field))->PackFrom(content);
}

}  // namespace lowbit
