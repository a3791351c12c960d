#include "pipeline/text_error.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/did_you_mean.h"
#include "google/protobuf/descriptor.h"
#include "pipeline/field_path.h"
#include "quant/quantizer_registry.h"

namespace lowbit {
namespace {

using google::protobuf::DescriptorPool;

std::string UnknownOptions(const std::string& type_url) {
  std::vector<std::string> known;
  for (const std::string& name : QuantizerNames()) {
    known.emplace_back((*QuantizerOptions(name))->GetDescriptor()->full_name());
  }
  if (!absl::StartsWith(type_url, "type.googleapis.com/")) {
    return "\"" + type_url + "\" should begin with type.googleapis.com/";
  }
  return UnknownNameMessage("options message", type_url.substr(type_url.rfind('/') + 1), std::move(known));
}

}  // namespace

// protobuf 3.21:  Message type "lowbit.FoldStep" has no field named "x".
//                 Could not find type "type.googleapis.com/x" stored in google.protobuf.Any.
std::string InOurWords(const std::string& message) {
  const std::vector<std::string> parts = absl::StrSplit(message, '"');
  if (absl::StrContains(message, "has no field named") && parts.size() == 5) {
    const auto* type = DescriptorPool::generated_pool()->FindMessageTypeByName(parts[1]);
    if (type != nullptr) return std::string(FindField(*type, parts[3]).status().message());
  }
  if (absl::StartsWith(message, "Could not find type") && parts.size() == 3) return UnknownOptions(parts[1]);
  if (absl::EndsWith(message, "got: ")) return message + "the end of the text";
  return message;
}

}  // namespace lowbit
